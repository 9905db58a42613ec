"""From a batch in shared memory to the micro-batches that an objective is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from train_clip.errors import ConfigError

if TYPE_CHECKING:
    from train_clip.data.loader import Batch, Column
    from train_clip.data.reader import Produced
    from train_clip.models.build import ModelBundle


def make_columns(names: Sequence[str], bundle: ModelBundle) -> dict[str, Column]:
    """The columns that an objective asks for; raises ConfigError for one that nothing makes."""
    unknown = sorted(set(names) - set(_COLUMNS))
    if unknown:
        raise ConfigError(
            f"the objective needs the batch columns {', '.join(unknown)}; there are: "
            f"{', '.join(_COLUMNS)}"
        )
    return {name: _COLUMNS[name](bundle) for name in names}


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


def _tokens(bundle: ModelBundle) -> Column:
    def encode(produced: Sequence[Produced]) -> torch.Tensor:
        """The captions' tokens, (b, context) int64."""
        return bundle.tokenizer([one.caption for one in produced])

    return encode


_COLUMNS: dict[str, Callable[[ModelBundle], Column]] = {"tokens": _tokens}
