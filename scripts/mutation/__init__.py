"""Faults put into the core modules one at a time, to see whether the tests notice."""
