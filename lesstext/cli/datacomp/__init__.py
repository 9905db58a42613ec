"""The `lesstext datacomp` commands."""
