"""What a selection becomes: filtered shards, and what stands beside them."""
