"""Contrastive learning with what is said of entities in the place of alt-texts, or beside them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from train_clip.distributed import Ranks
from train_clip.errors import ConfigError
from train_clip.objectives.base import MicroBatch, Outputs, gather_outputs
from train_clip.objectives.contrastive import Contrastive
from train_clip.objectives.positives import both_ways, related

_LABELS = ("text_draw", "entity", "entity_tokens", "labels")
_SHOWN = ("image_features", "text_features", "logit_scale")


@dataclass(frozen=True, kw_only=True)
class EntityContrastive(Contrastive):
    """CLIP's loss on alt-texts (`alt`), entities' texts (`entity`), or these with probability P
    (`mix:P`).

    The text of an entity is `{name}, {description}`; of several entities one is drawn. An image
    is right with every text of the batch that is about one of its entities: with an entity's text
    if it shows that entity, with an alt-text if it shares an entity with the alt-text's own image.
    With `alt` labels are not read, and this is CLIP's loss. Samples without a label show their
    alt-text.
    """

    text: str = "entity"

    def __post_init__(self) -> None:
        entity_share(self.text)

    @property
    def columns(self) -> tuple[str, ...]:
        share = entity_share(self.text)
        return (*(() if share == 1 else ("tokens",)), *(_LABELS if share else ()))

    @property
    def needs_every_label(self) -> bool:
        return entity_share(self.text) == 1

    def outputs(self, model: torch.nn.Module, batch: MicroBatch) -> Outputs:
        share = entity_share(self.text)
        if not share:
            return super().outputs(model, batch)
        is_entity = (batch["text_draw"] < share) & (batch["entity"] >= 0)
        tokens = batch["entity_tokens"]
        if "tokens" in batch:
            tokens = torch.where(is_entity.unsqueeze(1), tokens, batch["tokens"])
        found: Outputs = model(batch["images"], tokens)
        labels = batch["labels"]
        named = torch.full_like(labels, -1)
        named[:, 0] = batch["entity"]
        return {
            **{name: found[name] for name in _SHOWN},
            "labels": labels,
            "text_labels": torch.where(is_entity.unsqueeze(1), named, labels),
        }

    def loss(self, outputs: Outputs, own: Any) -> Tensor:
        if "labels" not in outputs:
            return super().loss(outputs, own)
        images, texts = outputs["image_features"], outputs["text_features"]
        is_right = related(outputs["labels"], outputs["text_labels"])
        is_right.fill_diagonal_(True)
        return both_ways(outputs["logit_scale"] * images @ texts.T, is_right)

    def rank_loss(self, outputs: Outputs, own: Any, ranks: Ranks) -> Tensor:
        if "labels" not in outputs:
            return super().rank_loss(outputs, own, ranks)
        return self.loss(gather_outputs(outputs, self.common, ranks), own)


def entity_share(text: str) -> float:
    """How often an entity's text is shown; raises ConfigError for what says neither.

    >>> [entity_share(text) for text in ("alt", "entity", "mix:0.25")]
    [0.0, 1.0, 0.25]
    """
    known = {"alt": 0.0, "entity": 1.0}
    kind, _, number = text.partition(":")
    try:
        share = known[text] if kind != "mix" else float(number)
    except (KeyError, ValueError):
        share = math.nan
    if not (text in known or 0 < share < 1):
        raise ConfigError(f"text must be alt, entity or mix:P with P in (0, 1), got {text!r}")
    return share
