"""Measuring any CLIP: zero-shot, attack outcomes, statistics."""
