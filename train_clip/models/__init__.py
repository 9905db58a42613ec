"""Models built, saved and exported."""
