"""What tells how well an image shows an entity."""
