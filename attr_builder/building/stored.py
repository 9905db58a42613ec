"""What a built set's folder holds beside its images: how the set was made."""

from __future__ import annotations

import json
from pathlib import Path

from attr_builder.drawing.attacks import random_map, read_map
from attr_builder.drawing.painter import Painter
from attr_builder.drawing.presets import Recipe
from attr_builder.errors import SetError
from attr_builder.labelled_images.classes import load_class_list

RECIPE_NAME = "recipe.json"
CLASSES_NAME = "classes.csv"
MAP_NAME = "attack_map.csv"


def load_painter(out: Path) -> Painter:
    """The painter that built a set, from the files in its folder; raises SetError."""
    try:
        data = json.loads((out / RECIPE_NAME).read_text(encoding="utf-8"))
        recipe = Recipe.from_json(data["recipe"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SetError(f"{out}: holds no readable {RECIPE_NAME}: {error}") from error
    classes = load_class_list(out / CLASSES_NAME)
    drawn = recipe.strategy == "random"
    return Painter(recipe, classes, random_map() if drawn else read_map(out / MAP_NAME, classes))
