"""Zero-shot on a retrieval set, where it is known what its classes are called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from attr_builder.errors import SourceError
from attr_builder.evaluation.image_retrieval.folders import open_retrieval_set
from attr_builder.labelled_images.classes import write_class_list
from tests.attr_builder.conftest import SIX
from tests.attr_builder.evaluation.test_image_retrieval import write_gpr
from tests.attr_builder.evaluation.test_retrieval_train import evaluated, write_folder


def test_folders_of_wordnet_ids_are_called_as_imagenets_classes(photos: Path) -> None:
    assert open_retrieval_set(str(photos / "val")).names == SIX.names


def test_folders_of_numbers_have_no_names(tmp_path: Path) -> None:
    assert open_retrieval_set(str(write_folder(tmp_path / "x", ("1", "2"), 1, 0))).names is None


def test_gpr1200_is_named_by_a_class_list(tmp_path: Path) -> None:
    folder = write_gpr(tmp_path / "gpr", ("0_a.jpg", "250_a.jpg"))
    listed = tmp_path / "classes.csv"
    listed.write_text("wnid,name\n0250,swan\n0000,tower\n")
    assert open_retrieval_set(f"gpr1200:{folder}").names is None
    assert open_retrieval_set(f"gpr1200:{folder}", str(listed)).names == ("tower", "swan")
    listed.write_text("wnid,name\n0250,swan\n")
    with pytest.raises(SourceError, match=r"classes\.csv: has no class '0000' of GPR1200"):
        open_retrieval_set(f"gpr1200:{folder}", str(listed))


def test_it_equals_the_zero_shot_of_the_clean_set(
    photos: Path, tmp_path: Path, tiny_model: tuple[str, str]
) -> None:
    listed = tmp_path / "classes.csv"
    listed.write_text(write_class_list(SIX))
    folder, out = str(photos / "val"), tmp_path / "out"
    given = ["--classes", str(listed), "--templates", "7", "--out", str(out)]
    result = evaluated(tiny_model, "--image-retrieval", folder, "--clean", folder, *given)
    assert result.exit_code == 0, result.output
    found = json.loads((out / "image_retrieval.json").read_text())["zeroshot"]
    (clean,) = json.loads((out / "results.json").read_text())["variants"].values()
    assert found["n_classes"] == 6 and found["n_templates"] == 7
    assert found["top1"] == clean["top1"]
    assert found["mean_per_class_recall"] == clean["mean_per_class_recall"]
    assert 0 < found["top1"]["value"] < 1
    assert "zero-shot, 6 classes, templates: 7" in (out / "image_retrieval.md").read_text()
