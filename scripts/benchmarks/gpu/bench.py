"""What every part of the GPU benchmark is given, and how it takes times."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Figures = Iterator[Mapping[str, Any]]


class Skipped(Exception):
    """A part cannot be measured here; the message says what is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Where it runs, on what, and how much of it.

    `inputs` holds `craft_half.pt`, `photos/`, `tiny_imagenet/`, each of which may be missing;
    `work` is scratch space of this run; `smoke` makes everything as small as it still runs;
    `seconds` is what the part at hand may take.
    """

    device: str
    inputs: Path
    work: Path
    smoke: bool
    seconds: float = 0.0

    @property
    def on_gpu(self) -> bool:
        return self.device.startswith("cuda")

    def pick(self, whole: int, smoke: int) -> int:
        """A number of images, steps or rounds."""
        return smoke if self.smoke else whole

    def folder(self, name: str) -> Path:
        """A fresh folder of this run."""
        path = self.work / name
        path.mkdir(parents=True)
        return path

    def finish(self) -> None:
        """Wait for what the device was given."""
        if self.on_gpu:
            import torch

            torch.cuda.synchronize(self.device)

    def seconds_of(self, work: Callable[[], object]) -> float:
        """Seconds until `work` is done on the device, too."""
        self.finish()
        start = time.perf_counter()
        work()
        self.finish()
        return time.perf_counter() - start
