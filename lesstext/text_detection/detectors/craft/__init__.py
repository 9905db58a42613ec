"""EasyOCR's CRAFT network with word boxes as they are: the reference."""
