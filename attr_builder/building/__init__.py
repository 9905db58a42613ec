"""Attacked twins written in the layouts that others read."""
