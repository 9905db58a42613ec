"""Output names: one for each image on every file system, and as before where nothing is odd."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attr_builder.building.build import run_build
from attr_builder.building.manifest import read_manifest
from attr_builder.building.names import output_stems
from attr_builder.building.verify import verify_set
from attr_builder.building.writers import FORMATS
from attr_builder.drawing.presets import make_recipe
from attr_builder.errors import SourceError
from attr_builder.evaluation.image_sets import open_variants
from attr_builder.labelled_images.classes import imagenet_classes, load_class_list
from tests.attr_builder.conftest import MakeBuild, photo

N1, N2 = imagenet_classes().wnids[:2]


def stems(*keys: str) -> list[str]:
    return output_stems(keys, [0] * len(keys), ["n1", "n2"])


def test_plain_names_stay_as_they_are() -> None:
    assert stems("n1/a", "b", "n1/c/d", "n2/a", "n1/ß.x") == [
        "n1/a", "n1/b", "n1/c__d", "n1/n2__a", "n1/ß.x"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "keys",
    [
        ("n1/a/b", "n1/a__b", "a__b"),
        ("n1/A", "n1/a"),
        ("n1/caf\u00e9", "n1/cafe\u0301"),
        ("n1/" + "x" * 240, "n1/" + "x" * 239 + "y"),
        ("n1/.a", "n1/_a", "n1/:a", "n1/a\ud800", "n1/a\0"),
        ("n1/a/b", "n1/a__b", stems("n1/a/b", "n1/a__b")[0]),
    ],
)
def test_names_that_would_be_one_are_told_apart(keys: tuple[str, ...]) -> None:
    found = stems(*keys)
    assert len({unicodedata.normalize("NFC", name.casefold()) for name in found}) == len(keys)
    assert all(len(name.encode()) <= 203 and "/." not in name for name in found)
    assert stems(*reversed(keys)) == found[::-1]


@given(st.lists(st.text("aA_/é\u0301.:~", min_size=1, max_size=6), unique=True, max_size=30))
def test_names_are_always_distinct(keys: list[str]) -> None:
    folded = [unicodedata.normalize("NFC", name.casefold()) for name in stems(*keys)]
    assert len(set(folded)) == len(keys)


@pytest.mark.parametrize("form", FORMATS)
def test_no_image_of_a_set_overwrites_another(
    make_build: MakeBuild, tmp_path: Path, form: str
) -> None:
    names = ["a/b", "a__b", "A__b", "x" * 240, "y:z", "é%.q"]
    for i, name in enumerate(names):
        file = tmp_path / "in" / N1 / f"{name}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        photo(i).save(file)
    recipe = make_recipe("visible", {"strategy": "random", "attacks_per_image": 2})
    plan = make_build(recipe, source=tmp_path / "in", formats=(form,), chunk_size=2)
    run_build(plan)
    rows = list(read_manifest(plan.out))
    assert len({str(row.output).casefold() for row in rows}) == len(rows) == 2 * len(names)
    assert verify_set(plan.out, plan.source, full=True).problems == []
    assert len(open_variants(plan.out)["attacked"].images.items) == len(rows)


@pytest.mark.parametrize("wnid", ["..", ".a", "a:b", "a/b", "x" * 201])
def test_a_class_that_cannot_be_a_folder_is_refused(tmp_path: Path, wnid: str) -> None:
    (tmp_path / "classes.csv").write_text(f"wnid,name\n{wnid},cat\n")
    with pytest.raises(SourceError, match="a wnid that can be a folder name"):
        load_class_list(tmp_path / "classes.csv")
