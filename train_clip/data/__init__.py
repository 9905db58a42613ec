"""From shards and parquet to the batches of each step."""
