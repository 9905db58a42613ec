"""A cascade: a fast detector decides the clear cases, a slow one those in which it has doubts.

An image is handed over where what the first believes covers no more than `threshold`, and might
cover that much with its doubts (`TextRegions.doubts`). There the regions of both count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lesstext.errors import UsageError
from lesstext.geometry import area_ratios
from lesstext.images import Pixels
from lesstext.text_detection.protocol import (
    Detector,
    DetectorSettings,
    TextRegions,
    identify_detector,
    load_detector,
    refuse_unknown_options,
)
from lesstext.text_detection.protocol import reads as detector_reads

DEFAULT_SIZE_PX = 384
_OPTIONS = ("first", "second", "threshold", "near", "runtime")
# Ours, as what `checked` doubts: chosen on photos of ImageNet, Flickr8k and groceries.
_RULE = 1
_THRESHOLD, _NEAR = 0.005, 0.003


def identify(settings: DetectorSettings) -> str:
    """The ids of both detectors, and when an image is handed over."""
    first, second = _stages(settings)
    threshold, near = _thresholds(settings)
    return (
        f"cascade rule={_RULE} threshold={threshold:g} near={near:g} "
        f"first=[{identify_detector(first)}] second=[{identify_detector(second)}]"
    )


def reads(settings: DetectorSettings) -> bool:
    """Whether the first detector does, for it sees every image."""
    return detector_reads(_stages(settings)[0])


def load(settings: DetectorSettings) -> CascadeDetector:
    """Load both; options `first` (checked), `second` (craft), `threshold` and `near`, the least
    share of an image that doubts must reach, and `runtime` for the first."""
    first, second = map(load_detector, _stages(settings))
    threshold, near = _thresholds(settings)
    return CascadeDetector(identify(settings), first, second, threshold, near)


class CascadeDetector:
    """Two detectors, of which the second sees what the first cannot decide.

    `tallies` counts the images that were handed over.
    """

    def __init__(
        self, id: str, first: Detector, second: Detector, threshold: float, near: float
    ) -> None:
        self.id = id
        self._first, self._second = first, second
        self._threshold, self._near = threshold, near
        sizes = (first.input_px, second.input_px)
        self.input_px = None if None in sizes else max(size for size in sizes if size is not None)
        self.tallies = {"handed over": 0}

    def detect(self, images: Sequence[Pixels]) -> list[TextRegions]:
        """One result per image, in order."""
        found = self._first.detect(images)
        unsure = [i for i, image in enumerate(images) if self._is_unsure(image, found[i])]
        self.tallies["handed over"] += len(unsure)
        if unsure:
            second = self._second.detect([images[i] for i in unsure])
            for i, more in zip(unsure, second, strict=True):
                found[i] = TextRegions(
                    (*found[i].polygons, *more.polygons),
                    np.concatenate([found[i].scores, more.scores]),
                    found[i].words,
                )
        return found

    def _is_unsure(self, image: Pixels, found: TextRegions) -> bool:
        height, width = image.shape[:2]
        if not found.doubts or area_ratios(found.polygons, width, height).union > self._threshold:
            return False
        possible = area_ratios([*found.polygons, *found.doubts], width, height).union
        return possible > self._near


def _stages(settings: DetectorSettings) -> tuple[DetectorSettings, DetectorSettings]:
    refuse_unknown_options(settings, _OPTIONS)
    if settings.weights is not None:
        raise UsageError("detector cascade takes no --weights: its detectors find their own")
    names = [settings.options.get("first", "checked"), settings.options.get("second", "craft")]
    if "cascade" in names:
        raise UsageError("detector cascade: a cascade cannot stand inside another")
    runtime = {k: v for k, v in settings.options.items() if k == "runtime"}
    size_px = settings.size_px or DEFAULT_SIZE_PX
    first, second = (replace(settings, name=name, size_px=size_px, options={}) for name in names)
    return replace(first, options=runtime), second


def _thresholds(settings: DetectorSettings) -> tuple[float, float]:
    try:
        threshold = float(settings.options.get("threshold", _THRESHOLD))
        near = float(settings.options.get("near", _NEAR))
    except ValueError as error:
        raise UsageError(f"detector cascade: {error}") from error
    if not (0 <= threshold <= 1 and 0 <= near <= 1):
        raise UsageError(
            f"detector cascade: threshold and near are shares of an image, got {threshold}, {near}"
        )
    return threshold, near
