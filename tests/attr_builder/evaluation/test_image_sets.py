"""Sets that are evaluated in parts: evenly spaced photos, and the same photos of the twin."""

from __future__ import annotations

from pathlib import Path

import pytest

from attr_builder.building.build import run_build
from attr_builder.drawing.presets import make_recipe
from attr_builder.errors import SourceError
from attr_builder.evaluation.image_sets import open_twins
from attr_builder.labelled_images.subset import evenly
from tests.attr_builder.conftest import SIX, MakeBuild


def test_a_limit_spreads_evenly() -> None:
    assert evenly(range(10), 4) == [0, 2, 5, 7]
    assert evenly(range(3), 7) == evenly(range(3), None) == [0, 1, 2]


def test_twins_show_the_same_photos(make_build: MakeBuild, photos: Path) -> None:
    changes = {"strategy": "random", "attacks_per_image": 2}
    plan = make_build(make_recipe("visible", changes), classes=SIX)
    run_build(plan)
    attacked = str(plan.out / "attacked")
    sets = open_twins(str(photos), attacked, SIX, None, 5)
    clean, twin = sets["clean"].images, sets["attacked"].images
    assert len(clean.items) == 5 and len(twin.items) == 10
    assert set(clean.clusters) == set(twin.clusters)
    for images in (clean, twin):
        keys = [item.key for item in images.items]
        assert all(key.startswith(photo) for key, photo in zip(keys, images.clusters, strict=True))
    assert all(label >= 0 for label in twin.attack_labels)
    whole = open_twins(str(photos), None, SIX, None, None)
    assert list(whole) == ["clean"] and len(whole["clean"].images.items) == 18


def test_twins_of_other_classes_or_photos_are_refused(
    make_build: MakeBuild, photos: Path, tmp_path: Path
) -> None:
    plan = make_build(make_recipe("visible", {"strategy": "random"}), classes=SIX)
    run_build(plan)
    attacked = str(plan.out / "attacked")
    with pytest.raises(SourceError, match="have different classes"):
        open_twins(str(photos), attacked, None, None, None)
    others = tmp_path / "others"
    for number, photo in enumerate(sorted(photos.rglob("*.JPEG"))):
        folder = others / photo.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.JPEG").write_bytes(photo.read_bytes())
    with pytest.raises(SourceError, match="shows none of the photos of"):
        open_twins(str(others), attacked, SIX, None, None)
