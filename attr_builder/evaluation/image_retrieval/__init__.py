"""How well image embeddings find images of the same class: GPR1200 and any ImageFolder."""
