"""An objective with parameters of its own: a table of prototypes that images are sorted into."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from train_clip.distributed import Ranks, gather_rows
from train_clip.objectives.base import MicroBatch, Outputs, Placement, Premises
from train_clip.objectives.contrastive import Contrastive

ALONE = Ranks(0, 1, torch.device("cpu"))


def premises(width: int, ranks: Ranks = ALONE, n_classes: int = 0) -> Premises:
    """What a run of seed 0 would tell."""
    return Premises(width, n_classes, 0, ranks)


class Table(torch.nn.Module):
    """Some rows of the table."""

    def __init__(self, rows: Tensor, ranks: Ranks) -> None:
        super().__init__()
        self.rows = torch.nn.Parameter(rows)
        self.ranks = ranks


@dataclass(frozen=True, kw_only=True)
class Prototypes(Contrastive):
    """CLIP's loss, and the label of each image (here: of its caption) among `n` prototypes."""

    n: int = 6

    def own_parameters(self, premises: Premises) -> torch.nn.Module:
        return Table(torch.randn(self.n, premises.width), premises.ranks)

    def optimiser_groups(self, own: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
        return [{"params": list(own.parameters()), "weight_decay": 0.0, "rate_factor": 10.0}]

    def outputs(self, model: torch.nn.Module, batch: MicroBatch) -> Outputs:
        return {**super().outputs(model, batch), "label": batch["tokens"].sum(1) % self.n}

    def loss(self, outputs: Outputs, own: Table) -> Tensor:
        features = {name: value for name, value in outputs.items() if name != "label"}
        logits = outputs["image_features"] @ own.rows.T * outputs["logit_scale"]
        whole = self.complete(logits, own)
        return super().loss(features, None) + cross_entropy(whole, outputs["label"])

    def complete(self, logits: Tensor, own: Table) -> Tensor:
        """Logits of all prototypes."""
        return logits

    def rank_loss(self, outputs: Outputs, own: Table, ranks: Ranks) -> Tensor:
        return super(Contrastive, self).rank_loss(outputs, own, ranks)


@dataclass(frozen=True, kw_only=True)
class ShardedPrototypes(Prototypes):
    """The same with a part of the table on each rank."""

    placement: ClassVar[Placement] = "sharded"

    def own_parameters(self, premises: Premises) -> torch.nn.Module:
        whole, ranks = torch.randn(self.n, premises.width), premises.ranks
        return Table(whole.chunk(ranks.world)[ranks.rank].clone(), ranks)

    def complete(self, logits: Tensor, own: Table) -> Tensor:
        return gather_rows(logits.T.contiguous(), own.ranks).T


def install(site: Path) -> str:
    """Make these objectives known to processes that have `site` on their path."""
    described = site / "prototypes-1.0.dist-info"
    described.mkdir(parents=True, exist_ok=True)
    (described / "METADATA").write_text("Name: prototypes\nVersion: 1.0\n")
    module = "tests.train_clip.objectives.prototypes"
    (described / "entry_points.txt").write_text(
        f"[train_clip.objectives]\nprototypes = {module}:Prototypes\n"
        f"sharded = {module}:ShardedPrototypes\nno-objective = {module}:Table\n"
        f"gone = {module}:Gone\n"
    )
    return str(site)
