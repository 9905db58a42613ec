"""Images that one arm gets right and the baseline wrong, and the other way round."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attr_builder.evaluation.image_sets import open_twins
from attr_builder.evaluation.retrieval import CaptionedImages
from attr_builder.labelled_images.sources import parse_classes
from lesstext.images import decode
from train_clip.comparison.results import PAIRED, Comparison, FinishedRun
from train_clip.config import TrainConfig
from train_clip.settings import EvalConfig

N_SHOWN = 8
THUMBNAIL_PX = 160
_OF_IMAGES = ("attacked_top1", "clean_top1", "i2t_R@1")


@dataclass(frozen=True, slots=True)
class Example:
    """One image: in how many seeds the arm and the baseline were right; `picture` is a data URL,
    or None where it could not be read."""

    name: str
    n_right: int
    n_baseline_right: int
    picture: str | None


@dataclass(frozen=True, slots=True)
class Examples:
    """What sets an arm apart in one metric: up to N_SHOWN images that it gains, and that it loses,
    those with most seeds first, and how many there are of each. `missing` says why there are no
    pictures."""

    arm: str
    metric: str
    n_gained: int
    n_lost: int
    gained: list[Example]
    lost: list[Example]
    missing: str | None = None


def find_examples(comparison: Comparison) -> list[Examples]:
    """For each arm but the baseline, in the first metric of images that the runs measured."""
    metric = next((name for name in _OF_IMAGES if name in comparison.differences), None)
    if metric is None:
        return []
    read, missing = _reader(comparison.runs[0], metric)
    return [
        _of_arm(comparison, arm, metric, read, missing)
        for arm in comparison.arms
        if arm != comparison.baseline
    ]


def _of_arm(
    comparison: Comparison,
    arm: str,
    metric: str,
    read: Callable[[str], bytes],
    missing: str | None,
) -> Examples:
    names, mine = _times_right(comparison, arm, metric)
    _, theirs = _times_right(comparison, comparison.baseline, metric)

    def shown(sign: int) -> tuple[int, list[Example]]:
        ahead = sign * (mine - theirs)
        order = np.argsort(-ahead, kind="stable")[: min(N_SHOWN, int((ahead > 0).sum()))]
        return int((ahead > 0).sum()), [
            Example(names[i], int(mine[i]), int(theirs[i]), _thumbnail(read, names[i]))
            for i in order
        ]

    (n_gained, gained), (n_lost, lost) = shown(1), shown(-1)
    return Examples(arm, metric, n_gained, n_lost, gained, lost, missing)


def _times_right(
    comparison: Comparison, arm: str, metric: str
) -> tuple[Sequence[str], NDArray[np.int64]]:
    """The items by name, and in how many seeds the arm had each right."""
    right, item = PAIRED[metric]
    runs = [run for run in comparison.runs if run.arm == arm]
    total = np.sum([run.outcomes[right].astype(np.int64) for run in runs], axis=0)
    return [str(name) for name in runs[0].outcomes[item]], total


def _reader(run: FinishedRun, metric: str) -> tuple[Callable[[str], bytes], str | None]:
    """Gives an image's bytes by its name; or, and why, nothing but errors."""

    def nothing(name: str) -> bytes:
        raise KeyError(name)

    path = run.folder / "config.json"
    try:
        config = TrainConfig.from_json(path.read_text(encoding="utf-8"), str(path)).evaluation
        return (_captioned(config) if metric.startswith("i2t") else _labelled(config, metric)), None
    except Exception as error:  # what was measured may be gone by now: the figures stand without
        return nothing, str(error)


def _captioned(config: EvalConfig) -> Callable[[str], bytes]:
    images = CaptionedImages(str(config.retrieval), config.limit)
    places = {images.name(place): place for place in range(len(images))}
    return lambda name: bytes(images[places[name]].data)


def _labelled(config: EvalConfig, metric: str) -> Callable[[str], bytes]:
    labels = None if config.labels is None else Path(config.labels)
    sets = open_twins(
        str(config.zeroshot), config.attacked, parse_classes(config.classes), labels, config.limit
    )
    images = sets[metric.partition("_")[0]].images
    places = {name: place for place, name in enumerate(images.clusters)}

    def read(name: str) -> bytes:
        item: Any = images.items[places[name]]
        return bytes(item.data)

    return read


def _thumbnail(read: Callable[[str], bytes], name: str) -> str | None:
    from PIL import Image

    try:
        pixels = decode(read(name), target_px=THUMBNAIL_PX).pixels
    except Exception:  # the one-sample boundary: the page says that there is no picture
        return None
    image = Image.fromarray(pixels)
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
