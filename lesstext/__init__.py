"""Score, select and filter WebDataset shards by the share of each image that is text."""

__version__ = "0.1.0"
