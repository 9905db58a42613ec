"""Finding images of a class, measured while a model is trained."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from attr_builder.evaluation.image_retrieval.measure import (
    RetrievalConfig,
    measure_images,
    open_images,
)
from tests.train_clip.conftest import make_config, write_class_folders
from train_clip.cli import app
from train_clip.comparison.results import load_run
from train_clip.settings import EvalConfig
from train_clip.training.loop import train


def test_a_run_measures_what_attr_builder_does(shards: Path, tmp_path: Path) -> None:
    folder, run = write_class_folders(tmp_path / "photos"), tmp_path / "run"
    (folder / "3" / "bad.jpg").write_bytes(b"no image")
    evaluation = EvalConfig(every=2, image_retrieval=str(folder), limit=14)
    told = train(make_config(shards, evaluation=evaluation), run)["evaluation"]
    config = RetrievalConfig(model=f"local-dir:{run}", pretrained=None, spec=str(folder), limit=14)
    found = measure_images(config, open_images(config))
    assert found.accuracy is not None
    assert told["image_map"] == pytest.approx(found.overall.with_query, abs=1e-6)
    assert told["image_map_random"] == found.overall.with_query_random
    assert told["image_map_without_query"] == pytest.approx(found.overall.without_query, abs=1e-6)
    assert told["image_map_without_query_random"] == found.overall.without_query_random
    assert told["image_knn"] == found.accuracy.knn
    assert (told["image_n"], told["image_failed"]) == (found.overall.n, len(found.failures))
    assert told["image_n"] + told["image_failed"] == 14
    assert 0 < told["image_map_without_query"] < told["image_map"] < 1

    finished = load_run("an arm", 0, run)
    assert finished.outcomes["image_precision"].mean() == pytest.approx(told["image_map"])
    assert set(finished.outcomes["image_class"].tolist()) == {"0", "1", "2", "3"}
    logged = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in logged if "image_map" in row] == [2, 4]

    call = ["evaluate", str(run), "--image-retrieval", str(folder), "--limit", "14"]
    result = CliRunner().invoke(app, [*call, "--device", "cpu", "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    again = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert again["image_map"] == told["image_map"]
    with np.load(tmp_path / "out" / "step_00000000.npz") as outcomes:
        assert np.array_equal(outcomes["image_precision"], finished.outcomes["image_precision"])
