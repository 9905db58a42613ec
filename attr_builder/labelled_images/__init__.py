"""Images with a true class, from folders, parquet and shards."""
