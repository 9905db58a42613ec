"""What every text detector gives back, and how one is found by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lesstext.errors import DetectorError, UsageError
from lesstext.images import Pixels
from lesstext.plugins import load_plugin

DEFAULT_DETECTOR = "confirmed"
ENTRY_POINT_GROUP = "lesstext.detectors"


@dataclass(frozen=True, slots=True)
class Word:
    """What was read in one region (k, 2), and how sure the reader is of it, in [0, 1].

    It may be several words, where a region is a line.
    """

    text: str
    score: float
    region: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TextRegions:
    """The text found in one image.

    `polygons` are float32 (k, 2) arrays with k >= 3, pixels x right and y down in the frame of the
    pixels that the detector was given; `scores` float32 (n,), one confidence in [0, 1] for each.
    `words` is all that was read, also where no polygon came of it; None from a detector that does
    not read. `doubts` are further polygons that may be text: a cascade asks another detector where
    they would make a difference.
    """

    polygons: tuple[NDArray[np.float32], ...]
    scores: NDArray[np.float32]
    words: tuple[Word, ...] | None = None
    doubts: tuple[NDArray[np.float32], ...] = ()

    def __post_init__(self) -> None:
        if self.scores.shape != (len(self.polygons),):
            raise ValueError(
                f"expected {len(self.polygons)} scores, one per polygon, got {self.scores.shape}"
            )
        for polygon in self.polygons:
            if polygon.ndim != 2 or polygon.shape[1] != 2 or len(polygon) < 3:
                raise ValueError(f"expected a polygon of shape (k >= 3, 2), got {polygon.shape}")

    def scaled(self, x_factor: float, y_factor: float) -> TextRegions:
        """The same regions in a frame that is `x_factor` times as wide, `y_factor` as high."""
        factors = np.array([x_factor, y_factor], dtype=np.float32)
        words = self.words and tuple(
            Word(word.text, word.score, word.region * factors) for word in self.words
        )
        return TextRegions(
            tuple(polygon * factors for polygon in self.polygons),
            self.scores,
            words,
            tuple(polygon * factors for polygon in self.doubts),
        )


@runtime_checkable
class Detector(Protocol):
    """Finds text in images of mixed sizes.

    `id` names the detector, its weights and every setting that can change a result.
    `input_px` is the longer side it works at: larger images may reach it reduced to no less.
    """

    @property
    def id(self) -> str: ...

    @property
    def input_px(self) -> int | None: ...

    def detect(self, images: Sequence[Pixels]) -> list[TextRegions]:
        """One result per image, in order; images are RGB uint8 (H, W, 3) of any mix of sizes.

        The result for an image does not depend on the images beside it.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorSettings:
    """What a user chooses about detection; None leaves the adapter's own default.

    `device` is one concrete torch device such as `cpu` or `cuda:1`; `threads` is the number of
    CPU threads the network may use; `helpers` the number of processes that decode and measure for
    it (0: it does so itself); `options` are the adapter's own, as text.
    """

    name: str = DEFAULT_DETECTOR
    device: str = "cpu"
    threads: int = 1
    helpers: int = 0
    size_px: int | None = None
    precision: str | None = None
    weights: str | None = None
    options: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise UsageError(f"--threads must be at least 1, got {self.threads}")
        if self.helpers < 0:
            raise UsageError(f"--helpers must be at least 0, got {self.helpers}")
        if self.size_px is not None and not 32 <= self.size_px <= 4096:
            raise UsageError(f"--size must be within 32 to 4096 px, got {self.size_px}")


class DetectorModule(Protocol):
    """What an entry point of the group `lesstext.detectors` names: a module with two functions.

    One whose detector also reads what it finds has a third, `reads(settings)`, which is then true.
    """

    def identify(self, settings: DetectorSettings) -> str:
        """The id that the loaded detector will have, found without loading anything heavy."""
        ...

    def load(self, settings: DetectorSettings) -> Detector: ...


def load_detector(settings: DetectorSettings | str = DEFAULT_DETECTOR) -> Detector:
    """Load a detector by name or settings.

    Raises UsageError for an unknown name or option, DetectorError when it cannot run as asked.
    """
    if isinstance(settings, str):
        settings = DetectorSettings(name=settings)
    return _module(settings.name).load(settings)


def identify_detector(settings: DetectorSettings) -> str:
    """The id that `load_detector(settings)` would have; fast."""
    return _module(settings.name).identify(settings)


def reads(settings: DetectorSettings) -> bool:
    """Whether that detector fills `TextRegions.words`; raises as `load_detector` does."""
    tell = getattr(_module(settings.name), "reads", None)
    return tell is not None and bool(tell(settings))


def _module(name: str) -> DetectorModule:
    module: DetectorModule = load_plugin(ENTRY_POINT_GROUP, "detector", name, DetectorError)
    return module


def refuse_unknown_options(settings: DetectorSettings, known: Sequence[str]) -> None:
    """Raise UsageError when `settings.options` holds a name that the adapter does not have."""
    unknown = sorted(set(settings.options) - set(known))
    if unknown:
        raise UsageError(
            f"detector {settings.name!r} has no option {', '.join(unknown)}; "
            f"it has: {', '.join(known) or 'none'}"
        )
