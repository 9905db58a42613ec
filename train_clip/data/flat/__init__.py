"""What is known of many samples, as flat arrays on disk that workers map into memory."""
