"""Any open_clip model: where its files are, and its embeddings."""

from lesstext.clip.files import stored_digest
from lesstext.clip.model import (
    ClipModel,
    Embeddings,
    Precision,
    Preprocess,
    Tokenizer,
    build_classifier,
    evaluating,
    fill_template,
    load_model,
    preprocessing,
    prompt_templates,
    weights_digest,
)

__all__ = [
    "ClipModel",
    "Embeddings",
    "Precision",
    "Preprocess",
    "Tokenizer",
    "build_classifier",
    "evaluating",
    "fill_template",
    "load_model",
    "preprocessing",
    "prompt_templates",
    "stored_digest",
    "weights_digest",
]
