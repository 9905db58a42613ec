"""The loop: steps, state, optimiser, log."""
