"""Several arms trained at equal steps and compared."""
