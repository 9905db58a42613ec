"""Train CLIP for a fixed number of optimisation steps, with the data as the only variable."""
