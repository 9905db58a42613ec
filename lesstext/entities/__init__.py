"""What captions can name: knowledge bases, and how stretches of text are linked to entities."""
