"""WebDataset shards: named, read strictly, recognised again."""
