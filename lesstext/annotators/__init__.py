"""What writes one table per shard: the contract, and its users."""
