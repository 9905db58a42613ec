"""Files on a local disk or object storage: fetched, written whole, claimed."""
