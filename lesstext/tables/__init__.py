"""Tables of one row per sample, and selections over them."""
