"""The parts of `scripts/distil.py`: photos, the teacher, composites, training, export."""
