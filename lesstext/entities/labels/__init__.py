"""Which candidates of an image become its labels."""
