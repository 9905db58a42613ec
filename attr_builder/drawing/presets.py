"""Recipes as data: the paper's, a sound one, and whatever the user changes in either."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal

from attr_builder.errors import UsageError

Strategy = Literal["paper", "random", "similar", "map"]
Variant = Literal["attacked", "none", "correct", "nonsense"]
When = Literal["never", "auto", "always"]
VARIANTS: tuple[Variant, ...] = ("attacked", "none", "correct", "nonsense")
CONTROLS: tuple[Variant, ...] = VARIANTS[1:]


@dataclass(frozen=True, kw_only=True, slots=True)
class RenderOptions:
    """How text is drawn and the image stored.

    `placement`: `crop` (varies by seed, inside the central square that Resize+CenterCrop shows),
    `image` (varies, anywhere) or `X,Y` (pixels, the top left of the first line's box).
    `size`: `50px`, or `10%` of the shorter side. `fit` wraps text and shrinks it, down to
    `min_size_ratio` of the shorter side, until it fits. `color`, `stroke_color` and `box_color`
    take any CSS colour; `auto` picks black or white. `stroke` and `box` are drawn `never`,
    `always`, or (`auto`) where contrast would stay below `min_contrast`; `auto` tries the stroke
    first. `font` is a path, or None for the Liberation Sans that the package ships.
    """

    placement: str = "crop"
    size: str = "10%"
    min_size_ratio: float = 0.06
    fit: bool = True
    color: str = "auto"
    stroke: When = "auto"
    stroke_color: str = "auto"
    box: When = "auto"
    box_color: str = "auto"
    min_contrast: float = 4.5
    font: str | None = None
    exif: bool = True
    encoding: Literal["jpeg", "png"] = "jpeg"
    quality: int = 75

    def __post_init__(self) -> None:
        parse_placement(self.placement)
        parse_size(self.size)
        _check_choice("stroke", self.stroke, ("never", "auto", "always"))
        _check_choice("box", self.box, ("never", "auto", "always"))
        _check_choice("encoding", self.encoding, ("jpeg", "png"))
        for name in ("color", "stroke_color", "box_color"):
            parse_color(getattr(self, name))
        if not 0 < self.min_size_ratio <= 1:
            raise UsageError(f"min_size_ratio must lie in (0, 1], is {self.min_size_ratio}")
        if not 1 <= self.min_contrast <= 21:
            raise UsageError(f"min_contrast must lie in [1, 21], is {self.min_contrast}")
        if not 1 <= self.quality <= 100:
            raise UsageError(f"quality must lie in 1 to 100, is {self.quality}")

    @property
    def suffix(self) -> str:
        """File name suffix of the stored images."""
        return ".jpg" if self.encoding == "jpeg" else ".png"


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Everything that decides what a set looks like; equal recipes give equal bytes.

    `strategy` picks the wrong class (see `attacks`); `keep_noops` draws the attack map's word
    even where it is the true class's own name. `attacks_per_image` distinct wrong classes give
    as many attacked images per photo.
    """

    preset: str
    strategy: Strategy = "paper"
    keep_noops: bool = False
    attacks_per_image: int = 1
    controls: tuple[Variant, ...] = ()
    seed: int = 0
    render: RenderOptions = field(default_factory=RenderOptions)

    def __post_init__(self) -> None:
        _check_choice("strategy", self.strategy, ("paper", "random", "similar", "map"))
        for control in self.controls:
            _check_choice("controls", control, CONTROLS)
        if len(set(self.controls)) < len(self.controls):
            raise UsageError(f"controls: one is named twice: {', '.join(self.controls)}")
        if self.attacks_per_image < 1:
            raise UsageError(f"attacks_per_image must be at least 1, is {self.attacks_per_image}")

    @property
    def variants(self) -> tuple[Variant, ...]:
        """What is written for each image, in the order of the manifest."""
        return tuple(v for v in VARIANTS if v == "attacked" or v in self.controls)

    @property
    def is_paper(self) -> bool:
        """Whether this is the published recipe, but for controls, seed and the font."""
        plain = replace(self.render, font=None)
        return self.strategy == "paper" and self.keep_noops and plain == PAPER.render

    def as_json(self) -> dict[str, Any]:
        """The recipe as plain data."""
        return asdict(self)


def make_recipe(
    preset: str, changes: dict[str, Any] | None = None, render: dict[str, Any] | None = None
) -> Recipe:
    """A preset with some fields changed; None among the values means "as the preset has it"."""
    if preset not in PRESETS:
        raise UsageError(f"no preset {preset!r}; there are {', '.join(PRESETS)}")
    base = PRESETS[preset]
    drawn = {key: value for key, value in (render or {}).items() if value is not None}
    rest = {key: value for key, value in (changes or {}).items() if value is not None}
    return replace(base, render=replace(base.render, **drawn), **rest)


@lru_cache(maxsize=64)
def parse_placement(text: str) -> tuple[int, int] | None:
    """`X,Y` as pixels; None for the placements that vary by seed.

    >>> parse_placement("50,50"), parse_placement("crop")
    ((50, 50), None)
    """
    if text in ("crop", "image"):
        return None
    match = re.fullmatch(r"(\d+)\s*,\s*(\d+)", text)
    if match is None:
        raise UsageError(f"placement: expected crop, image or X,Y in pixels, got {text!r}")
    return int(match[1]), int(match[2])


@lru_cache(maxsize=64)
def parse_size(text: str) -> tuple[float, bool]:
    """`50px` as (50, False); `10%` as (0.1, True), a share of the shorter side.

    >>> parse_size("50px"), parse_size("10%")
    ((50.0, False), (0.1, True))
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(px|%)", text)
    if match is None or float(match[1]) <= 0:
        raise UsageError(f"size: expected something like 50px or 10%, got {text!r}")
    number = float(match[1])
    return (number / 100, True) if match[2] == "%" else (number, False)


@lru_cache(maxsize=64)
def parse_color(text: str) -> tuple[int, int, int] | None:
    """RGB of a CSS colour, each 0 to 255; None for `auto`."""
    from PIL import ImageColor

    if text == "auto":
        return None
    try:
        return ImageColor.getrgb(text)[:3]
    except ValueError as error:
        raise UsageError(f"no such colour: {text!r} (use a name or #rrggbb)") from error


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"{name}: expected one of {', '.join(choices)}, got {value!r}")


PAPER = Recipe(
    preset="paper",
    strategy="paper",
    keep_noops=True,
    render=RenderOptions(
        placement="50,50",
        size="50px",
        fit=False,
        color="#ff0000",
        stroke="never",
        box="never",
        exif=False,
    ),
)
VISIBLE = Recipe(preset="visible")
PRESETS = {"paper": PAPER, "visible": VISIBLE}
