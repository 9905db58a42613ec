"""The parts of `scripts/eval_detector.py`: metrics, labelled data, measuring, tables."""
