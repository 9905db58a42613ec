"""From published sources to a knowledge base, one module for each format."""
