"""Which entities samples show: the classes, the labels of each sample, and drawing by them."""
