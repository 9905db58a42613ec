"""Text detectors, one file per adapter; heavy libraries are imported inside."""
