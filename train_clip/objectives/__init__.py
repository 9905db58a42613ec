"""What is optimised, and its exact gradient."""
