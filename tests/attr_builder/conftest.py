"""Fixtures: a small photo-like ImageFolder, and builds of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from attr_builder.building.build import Build
from attr_builder.drawing.attacks import paper_map, random_map
from attr_builder.drawing.painter import Painter
from attr_builder.drawing.presets import Recipe, make_recipe
from attr_builder.labelled_images.classes import ClassList, imagenet_classes
from attr_builder.labelled_images.sources import open_source

LABELS = (0, 1, 2, 207, 657, 836)
SIX = ClassList(
    tuple(imagenet_classes().wnids[label] for label in LABELS),
    tuple(imagenet_classes().names[label] for label in LABELS),
)
MakeBuild = Callable[..., Build]


def photo(seed: int, width: int = 180, height: int = 140) -> Image.Image:
    """Smooth colours with some noise: compresses and decodes like a photo."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    noise = random.integers(-8, 9, (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(smooth) + noise, 0, 255).astype(np.uint8))


def write_image_folder(root: Path, classes: ClassList, labels: tuple[int, ...], n: int) -> Path:
    """`root/val/WNID/WNID_I.JPEG`, `n` photos of varying size for each label."""
    for label in labels:
        folder = root / "val" / classes.wnids[label]
        folder.mkdir(parents=True)
        for i in range(n):
            width, height = 160 + 17 * i + label % 7, 120 + 23 * (label % 5)
            photo(100 * label + i, width, height).save(
                folder / f"{folder.name}_{i}.JPEG", quality=92
            )
    return root


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ImageFolder of 18 photos in six ImageNet classes; two of them attack each other's name."""
    root = tmp_path_factory.mktemp("photos")
    return write_image_folder(root, imagenet_classes(), LABELS, 3)


@pytest.fixture
def make_build(photos: Path, tmp_path: Path) -> MakeBuild:
    """make_build(recipe or preset, out="set", …) -> Build of the photos."""

    def make(recipe: Recipe | str = "visible", out: str = "set", **options: Any) -> Build:
        if isinstance(recipe, str):
            recipe = make_recipe(recipe)
        source = open_source(options.pop("source", photos), classes=options.pop("classes", None))
        drawn = recipe.strategy == "random"
        attack_map = random_map() if drawn else paper_map(source.classes)
        painter = Painter(recipe, source.classes, options.pop("attack_map", attack_map))
        options.setdefault("chunk_size", 7)
        return Build(source=source, painter=painter, out=tmp_path / out, **options)

    return make
