"""From a batch in shared memory to the micro-batches that an objective is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from train_clip.errors import ConfigError
from train_clip.training.label_columns import LabelColumns

if TYPE_CHECKING:
    from train_clip.config import TrainConfig
    from train_clip.data.loader import Batch, Column
    from train_clip.data.reader import Produced
    from train_clip.data.sources import RunData
    from train_clip.models.build import ModelBundle
    from train_clip.objectives.base import Objective


@dataclass(frozen=True, slots=True)
class Feed:
    """What columns are made from: the model's tokenizer, the run's data and its settings."""

    bundle: ModelBundle
    data: RunData
    config: TrainConfig

    @property
    def labels(self) -> LabelColumns:
        return LabelColumns(self.data, self.bundle.tokenizer, self.config.seed)


def make_columns(objective: Objective, feed: Feed) -> dict[str, Column]:
    """The columns that an objective asks for.

    Raises ConfigError for one that nothing makes, and for labels that the data lack.
    """
    unknown = sorted(set(objective.columns) - set(_COLUMNS))
    if unknown:
        raise ConfigError(
            f"the objective needs the batch columns {', '.join(unknown)}; there are: "
            f"{', '.join(_COLUMNS)}"
        )
    if objective.needs_every_label:
        feed.data.require_labels(f"--loss {feed.config.loss}", feed.config)
    return {name: _COLUMNS[name](feed) for name in objective.columns}


def micro_batches(
    batch: Batch, bundle: ModelBundle, device: torch.device, dtype: torch.dtype, n: int
) -> list[dict[str, Any]]:
    """`n` runs of rows: normalised `images` (b, 3, px, px) and the columns, on the device."""
    pixels = torch.from_numpy(batch.images).to(device).permute(0, 3, 1, 2).to(dtype)
    mean = torch.tensor(bundle.mean, device=device, dtype=dtype).view(3, 1, 1)
    std = torch.tensor(bundle.std, device=device, dtype=dtype).view(3, 1, 1)
    whole = {"images": pixels.div_(255).sub_(mean).div_(std), **batch.columns}
    moved = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in whole.items()}
    rows = len(batch.images) // n
    return [
        {name: value[start : start + rows] for name, value in moved.items()}
        for start in range(0, n * rows, rows)
    ]


def _tokens(feed: Feed) -> Column:
    def encode(produced: Sequence[Produced]) -> torch.Tensor:
        """The captions' tokens, (b, context) int64."""
        return feed.bundle.tokenizer([one.caption for one in produced])

    return encode


_COLUMNS: dict[str, Callable[[Feed], Column]] = {
    "tokens": _tokens,
    "labels": lambda feed: feed.labels.labels,
    "entity": lambda feed: feed.labels.entity,
    "entity_tokens": lambda feed: feed.labels.entity_tokens,
    "text_draw": lambda feed: feed.labels.text_draw,
}
