"""The published figures of ImageNet-Attr, beside which ours are shown."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Published:
    """One model's top-1 in percent, as printed, and how many pairs it was trained on."""

    model: str
    pairs: str
    imagenet: str
    imagenet_attr: str


# Cao et al. 2023 (arXiv 2305.05095): ViT-B/16, 80 templates, the whole `paper` set.
OPENAI = Published("OpenAI CLIP", "400M", "68.35", "31.65")
LAION_400M = Published("OpenCLIP laion400m_e32", "400M", "66.99", "29.55")
UNFILTERED = Published("theirs, unfiltered", "1.1B", "68.66", "35.73")
FILTERED = Published("theirs, text-filtered", "0.7B", "70.77", "68.78")
PUBLISHED = (OPENAI, LAION_400M, UNFILTERED, FILTERED)
