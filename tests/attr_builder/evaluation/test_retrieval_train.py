"""kNN and the probe learn from images of their own, whose classes are found by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from attr_builder.cli import app
from attr_builder.errors import SourceError
from attr_builder.evaluation.embeddings import embed_labelled
from attr_builder.evaluation.image_retrieval.folders import labels_in, open_retrieval_set
from attr_builder.evaluation.image_retrieval.naming import measure_split
from attr_builder.evaluation.image_retrieval.probe import halves
from attr_builder.labelled_images.sources import Source
from lesstext.clip import load_model
from tests.attr_builder.conftest import photo
from tests.attr_builder.evaluation.test_image_retrieval import clustered


def write_folder(root: Path, classes: tuple[str, ...], n: int, seed: int) -> Path:
    """`n` photos for each class, tinted by its name, so that classes can be told in part."""
    for name in classes:
        (root / name).mkdir(parents=True)
        tint = np.array([31 * len(name) % 256, sum(name.encode()) % 256, 7 * ord(name[-1]) % 256])
        for i in range(n):
            pixels = np.asarray(photo(1000 * seed + 7 * i, 48, 40)).astype(np.float64)
            mixed = (0.6 * pixels + 0.4 * tint).astype(np.uint8)
            Image.fromarray(mixed).save(root / name / f"{seed}-{i}.png")
    return root


def opened(folder: Path) -> Source:
    return open_retrieval_set(str(folder)).images


def evaluated(tiny_model: tuple[str, str], *given: str) -> Any:
    model, weights = tiny_model
    call = ["evaluate", "--model", model, "--pretrained", weights, "--workers", "0"]
    return CliRunner().invoke(app, [*call, *given])


def test_a_split_is_scored_as_scikit_learn_does() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    vectors, labels = clustered(3, 500, 9)
    train, known, test, truth = vectors[:320], labels[:320], vectors[320:], labels[320:]
    found = measure_split(train, known, test, truth)
    knn = KNeighborsClassifier(20, metric="cosine").fit(train, known)
    assert found.knn == knn.score(test, truth)
    fitted = halves(known)
    best = max(
        (0.1, 1.0, 10.0, 100.0, 1000.0),
        key=lambda c: (
            LogisticRegression(C=c, max_iter=1000)
            .fit(train[fitted], known[fitted])
            .score(train[~fitted], known[~fitted])
        ),
    )
    theirs = LogisticRegression(C=best, max_iter=1000).fit(train, known)
    assert (found.probe_strength, found.linear_probe) == (best, theirs.score(test, truth))
    assert (found.k, found.n_train, found.n_test) == (20, 320, 180)
    assert 0.2 < found.knn < 1 and 0.2 < theirs.score(test, truth) < 1


def test_classes_are_matched_by_name_whatever_their_number(tmp_path: Path) -> None:
    test = opened(write_folder(tmp_path / "test", ("bee", "dog"), 2, 1))
    train = opened(write_folder(tmp_path / "train", ("ant", "bee", "cat", "dog"), 1, 2))
    assert train.keys[0].startswith("ant")
    assert labels_in(train, test).tolist() == [2, 0, 3, 1]  # extra classes come last


def test_a_class_that_is_not_shown_is_named(tmp_path: Path, tiny_model: tuple[str, str]) -> None:
    test = write_folder(tmp_path / "test", ("bee", "cow", "dog"), 2, 1)
    train = write_folder(tmp_path / "train", ("bee", "cat"), 1, 2)
    with pytest.raises(SourceError, match=r"train: holds no images of 2 of the 3 .* 'cow'"):
        labels_in(opened(train), opened(test))
    result = evaluated(tiny_model, "--image-retrieval", str(test), "--retrieval-train", str(train))
    assert result.exit_code == 2
    assert "classes are matched by name" in result.output


def test_the_command_learns_from_one_folder_and_tests_on_the_other(
    tmp_path: Path, tiny_model: tuple[str, str]
) -> None:
    from sklearn.neighbors import KNeighborsClassifier

    test = write_folder(tmp_path / "test", ("bee", "cow", "dog"), 4, 1)
    train = write_folder(tmp_path / "train", ("ant", "bee", "cow", "dog"), 9, 2)
    (train / "cow" / "bad.png").write_bytes(b"no image")
    out, kept = tmp_path / "out", tmp_path / "kept"
    given = ["--image-retrieval", str(test), "--retrieval-train", str(train), "--limit", "10"]
    given += ["--out", str(out), "--embeddings", str(kept)]
    result = evaluated(tiny_model, *given)
    assert result.exit_code == 1, result.output
    told = json.loads((out / "image_retrieval.json").read_text())
    assert [key for key, _ in told["failures"]] == ["train/cow/bad.png"]
    split = told["train_test"]
    assert (split["n_train"], split["n_test"], told["overall"]["n"]) == (36, 10, 10)

    model = load_model(*tiny_model)
    learnt = embed_labelled(model, opened(train))
    whole = embed_labelled(model, opened(test))
    rows = [12 * i // 10 for i in range(10)]
    known = np.array([3, 0, 1, 2])[learnt.labels]  # ties go to the lower number: test's come first
    theirs = KNeighborsClassifier(20, metric="cosine").fit(learnt.vectors, known)
    assert split["knn"] == theirs.score(whole.vectors[rows], whole.labels[rows])
    assert split["linear_probe"] is not None
    assert "from 36 other images" in (out / "image_retrieval.md").read_text()
    again = evaluated(tiny_model, *given, "--no-probe")
    assert "0 images were embedded anew" in again.output
    without = json.loads((out / "image_retrieval.json").read_text())
    assert without["train_test"] == {**split, "linear_probe": None, "probe_strength": None}
    assert without["accuracy"]["linear_probe"] is None
    assert without["overall"] == told["overall"]


@pytest.mark.parametrize("option", ["--retrieval-train", "--embeddings"])
def test_what_goes_with_image_retrieval_is_refused_without(
    tmp_path: Path, photos: Path, tiny_model: tuple[str, str], option: str
) -> None:
    result = evaluated(tiny_model, "--clean", str(photos), option, str(tmp_path / "x"))
    assert result.exit_code == 2
    assert f"{option} goes with --image-retrieval" in result.output
