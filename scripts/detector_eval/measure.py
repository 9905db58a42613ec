"""Running detectors over labelled data: ratios, metrics and seconds."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from detector_eval.data import LabelledImage, ScamPair
from detector_eval.metrics import (
    OperatingPoint,
    agreement,
    auc,
    bias,
    correlation,
    mean_absolute_error,
    operating_point,
    paired_win_rate,
    share_above,
)
from lesstext.geometry import area_ratios
from lesstext.images import DecodedImage, decode
from lesstext.text_detection.protocol import Detector, DetectorSettings, TextRegions, load_detector

THRESHOLDS = (0.0, 0.005, 0.02)
AGREEMENT_TOLERANCE = 2e-3
_HALF_PERCENT = 0.005
_CHUNK = 32  # images handed to a detector at once

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One detector at one size on one data set; `ratios` follow the sorted file names."""

    dataset: str
    detector: str
    detector_id: str
    size_px: int | None
    seconds_per_image: float
    metrics: dict[str, float | None]
    operating_points: list[OperatingPoint]
    ratios: list[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How many ratios of one detector agree within `tolerance` between two precisions."""

    images: str
    detector: str
    size_px: int | None
    precisions: tuple[str, str]
    n_images: int
    n_with_text: int
    tolerance: float
    share_within: float
    largest_difference: float


def measure_scam(settings: DetectorSettings, pairs: Sequence[ScamPair]) -> Run:
    """Does the written word raise the ratio? SCAM images are positives at every threshold.

    `ratios` holds those of all SCAM images, then those of all NoSCAM images.
    """
    files = [pair.written for pair in pairs] + [pair.blank for pair in pairs]
    detector = load_detector(settings)
    ratios, seconds = measure_ratios(detector, (path.read_bytes() for path in files))
    written, blank = ratios[: len(pairs)], ratios[len(pairs) :]
    labels = [True] * len(written) + [False] * len(blank)
    return Run(
        dataset="scam",
        detector=settings.name,
        detector_id=detector.id,
        size_px=settings.size_px,
        seconds_per_image=seconds,
        metrics={
            "auc": auc(written, blank),
            "paired_win_rate": paired_win_rate(written, blank),
            "scam_above_half_percent": share_above(written, _HALF_PERCENT),
            "noscam_above_half_percent": share_above(blank, _HALF_PERCENT),
        },
        operating_points=[operating_point(ratios, labels, threshold=x) for x in THRESHOLDS],
        ratios=ratios,
    )


def measure_icdar(settings: DetectorSettings, images: Sequence[LabelledImage]) -> Run:
    """How far is the ratio from the truth? A positive at X is an image with more text than X."""
    detector = load_detector(settings)
    ratios, seconds = measure_ratios(detector, (image.path.read_bytes() for image in images))
    truth = [image.true_ratio for image in images]
    return Run(
        dataset="icdar2015",
        detector=settings.name,
        detector_id=detector.id,
        size_px=settings.size_px,
        seconds_per_image=seconds,
        metrics={
            "correlation": correlation(ratios, truth),
            "mean_absolute_error": mean_absolute_error(ratios, truth),
            "bias": bias(ratios, truth),
        },
        operating_points=[
            operating_point(ratios, [true > x for true in truth], threshold=x) for x in THRESHOLDS
        ],
        ratios=ratios,
    )


def compare_precisions(
    pair: tuple[DetectorSettings, DetectorSettings], images: str, encoded: Sequence[bytes]
) -> Agreement:
    """Ratios of the same images at both settings, which differ in precision alone."""
    first, second = (measure_ratios(load_detector(settings), encoded)[0] for settings in pair)
    return Agreement(
        images=images,
        detector=pair[0].name,
        size_px=pair[0].size_px,
        precisions=(str(pair[0].precision), str(pair[1].precision)),
        n_images=len(encoded),
        n_with_text=sum(ratio > 0 for ratio in first),
        tolerance=AGREEMENT_TOLERANCE,
        share_within=agreement(first, second, AGREEMENT_TOLERANCE),
        largest_difference=max(abs(a - b) for a, b in zip(first, second, strict=True)),
    )


def measure_ratios(detector: Detector, encoded: Iterable[bytes]) -> tuple[list[float], float]:
    """Each image's text-area ratio, and the seconds per image that `detect` alone took."""
    ratios: list[float] = []
    seconds = 0.0
    for chunk in _chunks(encoded, _CHUNK):
        images = [decode(data, target_px=detector.input_px) for data in chunk]
        if not ratios:
            detector.detect([images[0].pixels])  # what only a first call pays for is not timed
        start = time.perf_counter()
        found = detector.detect([image.pixels for image in images])
        seconds += time.perf_counter() - start
        ratios += [_ratio(image, regions) for image, regions in zip(images, found, strict=True)]
    return ratios, seconds / max(len(ratios), 1)


def _ratio(image: DecodedImage, regions: TextRegions) -> float:
    height, width = image.pixels.shape[:2]
    return round(area_ratios(regions.polygons, width, height).union, 7)


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    chunk: list[T] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
