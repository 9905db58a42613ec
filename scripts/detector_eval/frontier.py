"""All detectors in one run: their quality against their speed, and against that of the first.

What a detector found on a photo is kept on disk (`cache`), so that a run can be cut and go on, and
one more detector costs only its own time. Speed is always measured anew, of all in turn.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from detector_eval.cache import Findings
from detector_eval.data import load_icdar
from detector_eval.metrics import (
    auc,
    bias,
    correlation,
    mean_absolute_error,
    paired_win_rate,
    share_above,
)
from detector_eval.photos import photos_of, present
from lesstext.errors import ImageError, UsageError
from lesstext.geometry import area_ratios
from lesstext.images import decode
from lesstext.text_detection.protocol import Detector, DetectorSettings, load_detector

THRESHOLD = 0.005
LABELLED = ("scam", "icdar2015")
UNLABELLED = ("cc12m_shards", "flickr8k_shards", "imagenet_sample", "grocery_val")
TEXT_FREE = Path(__file__).parent.parent / "results/detectors/text_free.txt"
_LAST_ANIMAL = "n02655020"  # ImageNet's classes of animals come first
_SPEED_PHOTOS = 8  # of each set
_SPEED_ROUNDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A detector to measure; `everywhere` or on the labelled sets alone."""

    settings: DetectorSettings
    everywhere: bool = True

    @property
    def label(self) -> str:
        """As `parse` takes it."""
        chosen = self.settings
        options = ",".join(f"{name}={value}" for name, value in sorted(chosen.options.items()))
        parts = [f"{chosen.name}@{chosen.size_px}", chosen.precision or "", options]
        return ":".join(parts).rstrip(":")


def parse(text: str) -> Candidate:
    """`NAME@SIZE[:PRECISION[:OPTION=VALUE,…]]`; a `-` in front: on the labelled sets alone.

    >>> parse("checked@384:float32:runtime=onnxruntime").label
    'checked@384:float32:runtime=onnxruntime'
    """
    name, _, rest = text.removeprefix("-").partition("@")
    size, precision, options = (*rest.split(":", 2), "", "")[:3]
    if not (name and size.isdigit()):
        raise UsageError(f"a detector is NAME@SIZE[:PRECISION[:OPTION=VALUE,…]], got {text!r}")
    pairs = [pair.partition("=") for pair in options.split(",") if pair]
    settings = DetectorSettings(
        name=name,
        size_px=int(size),
        precision=precision or None,
        options={name: value for name, _, value in pairs},
    )
    return Candidate(settings=settings, everywhere=not text.startswith("-"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What one detector is worth.

    `false_positives` are, by kind of photo, how many of how many that hold no text exceed the
    threshold; `agreement` is the share of a set's photos on which it selects as the first detector
    does, `alone` how many only the first, and only this one, would drop.
    """

    label: str
    detector_id: str
    scam: dict[str, float]
    icdar: dict[str, float | None]
    false_positives: dict[str, tuple[int, int]]
    agreement: dict[str, float]
    alone: dict[str, tuple[int, int]]
    handed_over: float | None
    cpu_ms: float = 0.0
    times_first: float = 1.0


@dataclass(slots=True, kw_only=True)
class Frontier:
    """All that was measured, the first detector in front."""

    about: dict[str, Any]
    points: list[Point] = field(default_factory=list)


Found = dict[str, Findings]


def measure(
    data: Path, cache: Path, candidates: Sequence[Candidate], limit: int | None
) -> list[Point]:
    """Look at what is not in the cache yet, then measure the speed of all in one run.

    Sets that are not below `data` are left out.
    """
    points: list[Point] = []
    reference: Found = {}
    detectors: list[Detector] = []
    for candidate in candidates:
        detector = load_detector(candidate.settings)
        detectors.append(detector)
        names = present(data, (*LABELLED, *(UNLABELLED if candidate.everywhere else ())))
        found = {name: _find(data, cache, detector, name, limit) for name in names}
        reference = reference or found
        points.append(_point(candidate, detector, data, found, reference))
        print(f"{candidate.label}: {points[-1]}", file=sys.stderr, flush=True)
    return _with_speed(points, detectors, data)


def _find(data: Path, cache: Path, detector: Detector, name: str, limit: int | None) -> Findings:
    findings = Findings(cache, detector.id, name)
    findings.complete(detector, islice(photos_of(data, name), limit))
    return findings


def _point(
    candidate: Candidate, detector: Detector, data: Path, found: Found, reference: Found
) -> Point:
    ratios = {name: findings.ratios for name, findings in found.items()}
    first = {name: reference[name].ratios for name in ratios if name in reference}
    compared = [name for name in UNLABELLED if name in ratios and name in first]
    handed_over = [f.handed_over for name in compared for f in found[name].by_key.values()]
    return Point(
        label=candidate.label,
        detector_id=detector.id,
        scam=scam_metrics(ratios["scam"]) if "scam" in ratios else {},
        icdar=icdar_metrics(ratios["icdar2015"], data) if "icdar2015" in ratios else {},
        false_positives=false_positives([ratios[name] for name in compared]),
        agreement={name: agreement(first[name], ratios[name]) for name in compared},
        alone={name: alone(first[name], ratios[name]) for name in compared},
        handed_over=sum(handed_over) / len(handed_over) if any(handed_over) else None,
    )


def scam_metrics(ratios: dict[str, float]) -> dict[str, float]:
    """How well the ratio tells a note with a word from the same note without."""
    written = {key.rpartition("/")[2]: r for key, r in ratios.items() if "/SCAM/" in key}
    blank = {key.rpartition("/")[2]: r for key, r in ratios.items() if "/NoSCAM/" in key}
    pairs = sorted(written.keys() & blank.keys())
    high, low = [written[name] for name in pairs], [blank[name] for name in pairs]
    return {
        "auc": auc(high, low),
        "paired_wins": paired_win_rate(high, low),
        "recall": share_above(high, THRESHOLD),
        "noscam": share_above(low, THRESHOLD),
    }


def icdar_metrics(ratios: dict[str, float], data: Path) -> dict[str, float | None]:
    """How near the ratio is to the truth, and how many photos with more text than the threshold
    exceed it."""
    truth = {image.path.name: image.true_ratio for image in load_icdar(data / "icdar2015", None)}
    pairs = [(ratio, truth[key.rpartition("/")[2]]) for key, ratio in sorted(ratios.items())]
    measured, true = [ratio for ratio, _ in pairs], [x for _, x in pairs]
    texts = [ratio for ratio, x in pairs if x > THRESHOLD]
    return {
        "correlation": correlation(measured, true),
        "mean_absolute_error": mean_absolute_error(measured, true),
        "bias": bias(measured, true),
        "recall": share_above(texts, THRESHOLD) if texts else None,
    }


def false_positives(sets: Sequence[dict[str, float]]) -> dict[str, tuple[int, int]]:
    """By kind of photo: how many, of how many looked at and found to hold no text, exceed."""
    text_free = set(TEXT_FREE.read_text(encoding="utf-8").split())
    counts: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    for ratios in sets:
        for key in ratios.keys() & text_free:
            counts[kind_of(key)][0] += ratios[key] > THRESHOLD
            counts[kind_of(key)][1] += 1
    return {kind: (n, total) for kind, (n, total) in sorted(counts.items())}


def kind_of(key: str) -> str:
    """What a photo shows, by where it comes from.

    >>> kind_of("imagenet_sample/val/n01440764/n01440764_0.JPEG")
    'animals'
    """
    if not key.startswith("imagenet_sample/"):
        return "people and dogs"
    return "animals" if key.split("/")[2] <= _LAST_ANIMAL else "things, food, places"


def agreement(first: dict[str, float], other: dict[str, float]) -> float:
    """The share of photos that both keep or both drop."""
    same = [(first[key] > THRESHOLD) == (other[key] > THRESHOLD) for key in _common(first, other)]
    return sum(same) / max(len(same), 1)


def alone(first: dict[str, float], other: dict[str, float]) -> tuple[int, int]:
    """How many photos only the first, and only the other, would drop."""
    keys = _common(first, other)
    only_first = sum(first[key] > THRESHOLD >= other[key] for key in keys)
    return only_first, sum(other[key] > THRESHOLD >= first[key] for key in keys)


def _common(first: dict[str, float], other: dict[str, float]) -> list[str]:
    return sorted(first.keys() & other.keys())


def _with_speed(points: list[Point], detectors: list[Detector], data: Path) -> list[Point]:
    """CPU time from encoded bytes to ratio, the least of some rounds of all detectors in turn."""
    sets = present(data, (*UNLABELLED, *LABELLED))
    photos = [d for name in sets for _, d in islice(photos_of(data, name), _SPEED_PHOTOS)]
    best = [float("inf")] * len(detectors)
    for _ in range(_SPEED_ROUNDS):
        for i, detector in enumerate(detectors):
            best[i] = min(best[i], _cpu_s(partial(_ratios, detector, photos)))
    return [
        replace(
            point,
            cpu_ms=round(1000 * cpu_s / len(photos), 3),
            times_first=round(best[0] / cpu_s, 2),
        )
        for point, cpu_s in zip(points, best, strict=True)
    ]


def _cpu_s(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _ratios(detector: Detector, photos: Sequence[bytes]) -> None:
    for data in photos:
        try:
            image = decode(data, target_px=detector.input_px)
        except ImageError:
            continue
        (found,) = detector.detect([image.pixels])
        area_ratios(found.polygons, image.pixels.shape[1], image.pixels.shape[0])
