"""Build ImageNet-Attr (adversarial text pasted onto ImageNet) and evaluate any CLIP on it."""
