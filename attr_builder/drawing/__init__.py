"""Adversarial text: what is written, where, and how it is drawn."""
