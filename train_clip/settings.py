"""The parts of a run's settings: where pairs come from, how they are shown, what is measured.

Each field is declared once: its flag, its help and its default stand at the field.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from lesstext.dataclass_options import Flag
from train_clip.errors import ConfigError

TextMask = Literal["none", "mean", "local-mean", "blur", "telea"]  # lesstext.fills
MaskedRegions = Literal["all", "repeated"]
CaptionPick = Literal["first", "random"]
ClassSampling = Literal["natural", "sqrt", "uniform"]
_EACH = "One for all --data, or one per --data in order"


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceConfig:
    """One pool of image-text pairs: where it is, how much of it is used, how often it is drawn.

    `weight` None means in proportion to size. `selection` (parquet) or `where` (SQL on the score
    tables in `scores`) filter while reading. `labels` says which entities samples show, and filters
    nothing: samples may be without. `captions` is `auto` (the `txt` member, else
    `caption`, else `captions` of the `json`) or the name of one JSON field that holds a text or
    a list of texts.
    """

    data: Annotated[
        str,
        Flag(
            "Shards: folder, glob, brace list, `::` list, @file or URL; repeat for several sources."
        ),
    ]
    weight: Annotated[float | None, Flag("Share of draws per --data (default: by size).")] = None
    selection: Annotated[str | None, Flag(f"Selection parquet ('-' for none). {_EACH}.")] = None
    where: Annotated[str | None, Flag(f"SQL rule on the score tables. {_EACH}.")] = None
    scores: Annotated[str | None, Flag(f"Score tables. {_EACH}.")] = None
    words: Annotated[str | None, Flag(f"Tables of lesstext annotate words. {_EACH}.")] = None
    labels: Annotated[str | None, Flag(f"Labels parquet of lesstext entities label. {_EACH}.")] = (
        None
    )
    captions: Annotated[str, Flag(f"auto (txt, else json), or a json field. {_EACH}.")] = "auto"

    def __post_init__(self) -> None:
        if self.weight is not None:
            check_above_0(f"weight of {self.data}", self.weight)
        if self.selection is not None and self.where is not None:
            raise ConfigError(f"{self.data}: give --selection or --where, not both")
        if self.where is not None and self.scores is None:
            raise ConfigError(f"{self.data}: --where reads score tables; name their --scores DIR")


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageAugment:
    """What happens to each image on its way in; probabilities and ratios in [0, 1].

    `crop_scale` is the share of the area that a random crop keeps, `crop_aspect` its width to
    height. `jitter` holds the strengths of brightness, contrast, saturation and hue.
    `randaugment` is (operations, magnitude of 10). `text_mask` says how text is hidden
    (`lesstext.fills`), `masked_regions` which: all that the score tables hold (or where there are
    none the tables of words), or those of which the word repeats the caption that is shown.
    """

    crop_scale: Annotated[tuple[float, float], Flag("Area kept.")] = (0.9, 1.0)
    crop_aspect: Annotated[tuple[float, float], Flag("Width to height of crops.")] = (3 / 4, 4 / 3)
    flip_prob: Annotated[float, Flag("Probability of mirroring.", names=("flip",))] = 0.0
    jitter: Annotated[
        tuple[float, float, float, float], Flag("Brightness, contrast, saturation, hue.")
    ] = (0.0, 0.0, 0.0, 0.0)
    jitter_prob: float = 0.8
    randaugment: Annotated[tuple[int, float], Flag("Operations, magnitude of 10.")] = (0, 9.0)
    erase_prob: Annotated[float, Flag("Probability of random erasing.", names=("erase",))] = 0.0
    text_mask: Annotated[
        TextMask,
        Flag("Hide text: none, mean, local-mean, blur or telea.", names=("mask_text",)),
    ] = "none"
    text_mask_prob: Annotated[float, Flag(names=("mask_text_prob",))] = 1.0
    masked_regions: Annotated[
        MaskedRegions,
        Flag("all text, or repeated: only words that stand in the caption; needs --words."),
    ] = "all"

    def __post_init__(self) -> None:
        low, high = self.crop_scale
        if not 0 < low <= high <= 1:
            raise ConfigError(f"crop scale must satisfy 0 < low <= high <= 1, got {low}, {high}")
        if not 0 < self.crop_aspect[0] <= self.crop_aspect[1] < math.inf:
            raise ConfigError(f"crop aspect must rise from above 0, got {self.crop_aspect}")
        for name in ("flip_prob", "jitter_prob", "erase_prob", "text_mask_prob"):
            check_ratio(name, getattr(self, name))
        if not all(0 <= part < math.inf for part in self.jitter) or self.jitter[3] > 0.5:
            raise ConfigError(f"jitter must be at least 0 and hue at most 0.5, got {self.jitter}")
        if self.randaugment[0] < 0 or not 0 <= self.randaugment[1] <= 10:
            raise ConfigError(f"RandAugment needs N >= 0 and M in [0, 10], got {self.randaugment}")


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionAugment:
    """Which of an image's captions is shown, and the templates (with `{}`) put around it."""

    pick: Annotated[CaptionPick, Flag("first or random, of several.", names=("caption_pick",))] = (
        "first"
    )
    templates: Annotated[
        tuple[str, ...],
        Flag("Caption template with {}; repeat for several.", names=("template",)),
    ] = ()
    template_prob: float = 0.5

    def __post_init__(self) -> None:
        check_ratio("template_prob", self.template_prob)
        for template in self.templates:
            if template.count("{}") != 1:
                raise ConfigError(f"a caption template needs exactly one {{}}, got {template!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalConfig:
    """What is measured every `every` steps (0: at the end only).

    `zeroshot` is a labelled image set (ImageFolder, parquet or shards with `cls`), `attacked` its
    twin, `classes` their class list (None: ImageNet), `templates` the number of prompts per class;
    `retrieval` is a shard spec, `image_retrieval` class folders of any names or `gpr1200:FOLDER`:
    finding images of an image's class. `limit` caps the images of each, evenly spaced (None: all).
    """

    every: Annotated[int, Flag("Steps (0: at the end only).")] = 0
    zeroshot: Annotated[str | None, Flag("Labelled image set.")] = None
    attacked: Annotated[str | None, Flag("Its attacked twin.")] = None
    classes: Annotated[str | None, Flag("Class list CSV.")] = None
    labels: Annotated[str | None, Flag("Ground truth of a flat set.")] = None
    templates: Annotated[int, Flag("Prompts per class: 80, 7 or 1.")] = 80
    retrieval: Annotated[str | None, Flag("Shards with captions.")] = None
    image_retrieval: Annotated[str | None, Flag("Class folders, or gpr1200:FOLDER.")] = None
    limit: Annotated[int | None, Flag("Images per set.")] = None

    @property
    def is_wanted(self) -> bool:
        """Whether anything is to be measured."""
        return any((self.zeroshot, self.retrieval, self.image_retrieval))

    def __post_init__(self) -> None:
        if self.every < 0 or (self.limit is not None and self.limit < 1):
            raise ConfigError("--eval-every must be at least 0 and --eval-limit at least 1")
        if self.attacked is not None and self.zeroshot is None:
            raise ConfigError("--eval-attacked needs the clean twin in --eval-zeroshot")
        if self.templates not in (1, 7, 80):
            raise ConfigError(f"--eval-templates must be 1, 7 or 80, got {self.templates}")


def check_ratio(name: str, value: float) -> None:
    """Refuse what is not in [0, 1]."""
    if not 0 <= value <= 1:
        raise ConfigError(f"{name} must lie in [0, 1], got {value}")


def check_above_0(name: str, value: float) -> None:
    """Refuse what is not above 0, or is not finite."""
    if not 0 < value < math.inf:
        raise ConfigError(f"{name} must be above 0, got {value}")


def check_at_least(least: int, name: str, value: float) -> None:
    """Refuse what is below `least`, or is not finite."""
    if not least <= value < math.inf:
        raise ConfigError(f"{name} must be at least {least}, got {value}")
