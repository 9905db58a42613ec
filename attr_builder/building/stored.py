"""What a built set's folder holds beside its images: how the set was made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from attr_builder.drawing.attacks import random_map, read_map
from attr_builder.drawing.painter import Painter
from attr_builder.drawing.presets import Recipe
from attr_builder.errors import SetError
from attr_builder.labelled_images.classes import load_class_list
from lesstext.storage.validation import read_back

RECIPE_NAME = "recipe.json"
CLASSES_NAME = "classes.csv"
MAP_NAME = "attack_map.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """What is needed of `recipe.json` to draw again."""

    recipe: Recipe

    __pydantic_config__: ClassVar = {"strict": True, "extra": "ignore"}


def load_painter(out: Path) -> Painter:
    """The painter that built a set, from the files in its folder.

    Raises SetError that names the file and the field, and UsageError for the lists beside it.
    """
    recipe = read_back(_Stored, out / RECIPE_NAME, SetError).recipe
    classes = load_class_list(out / CLASSES_NAME)
    drawn = recipe.strategy == "random"
    return Painter(recipe, classes, random_map() if drawn else read_map(out / MAP_NAME, classes))
