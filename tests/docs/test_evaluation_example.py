"""The example evaluation of the page on extending, by hand and on images."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attr_builder.evaluation.embeddings import LabelledEmbeddings
from tests.docs.conftest import RunScript
from tests.module_graph import ROOT
from tests.tiny_clip import store_tiny_model


@pytest.fixture(scope="module")
def neighbour_accuracy() -> Callable[..., float]:
    spec = importlib.util.spec_from_file_location("example", ROOT / "docs/examples/evaluation.py")
    assert spec is not None and spec.loader is not None
    example: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    found: Callable[..., float] = example.neighbour_accuracy
    return found


def embeddings(degrees: list[float], labels: list[int]) -> LabelledEmbeddings:
    angles = np.radians(degrees)
    return LabelledEmbeddings(
        vectors=np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32),
        labels=np.array(labels),
        rows=np.arange(len(labels)),
        failures=[],
    )


def test_neighbours_by_hand(neighbour_accuracy: Callable[..., float]) -> None:
    """Two groups, and one image of the first label amid the second: it alone is outvoted."""
    found = embeddings([0, 1, 2, 90, 91, 92, 93], [0, 0, 0, 1, 1, 1, 0])
    assert neighbour_accuracy(found, k=3) == pytest.approx(6 / 7)
    assert neighbour_accuracy(embeddings([0, 1, 50, 52], [0, 0, 1, 1]), k=1) == 1.0
    assert neighbour_accuracy(embeddings([0, 1, 50, 52], [0, 1, 0, 1]), k=1) == 0.0


def test_many_images_are_taken_in_parts(neighbour_accuracy: Callable[..., float]) -> None:
    """1,251 pairs, the members of each far apart in the list: every image meets its partner."""
    degrees = np.linspace(0, 180, 1251)
    found = embeddings([*degrees, *(degrees + 0.01)], [*range(1251), *range(1251)])
    assert neighbour_accuracy(found, k=1) == 1.0


def test_it_runs_on_images(
    playground: Path, run_script: RunScript, tiny_model: tuple[str, str]
) -> None:
    store_tiny_model(playground / "run" / "open_clip", tiny_model[1])
    said = run_script("bash", "python .site/my_evaluation.py imagenet/val local-dir:run")
    assert said.startswith("5 nearest neighbours: ") and "of 2 images right" in said
