"""`entities pick` and `entities label` as their user meets them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lesstext.cli.entities.labels import LabelConfig
from lesstext.entities.labels.reading import read_entity_ids, read_labels
from lesstext.errors import UsageError
from tests.lesstext.builders import read_tar
from tests.lesstext.conftest import Score
from tests.lesstext.entities.colours import NamedMentions, write_colours, write_pictures
from tests.train_clip.conftest import make_config
from train_clip.data.sources import prepare_data
from train_clip.settings import SourceConfig


def run(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "lesstext", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=True, cwd=folder
    )
    return done.stdout


def test_from_mentions_to_labels_that_export_and_training_take(
    tmp_path: Path, score: Score, colours: None
) -> None:
    kb = write_colours(tmp_path / "kb.parquet")
    samples = [("red", "red blue"), ("lime", "blue"), ("blue", "-"), ("blue", "blue lime")]
    write_pictures(tmp_path / "in/00000.tar", samples)
    score(tmp_path / "in", out=tmp_path / "mentions", annotator=NamedMentions(kb=kb))
    pick = ["entities", "pick", "in", "--input", "mentions=mentions", "--kb", kb, "--workers", "1"]
    pick += ["--selector", "colours", "--texts", "texts", "--out", "picks"]
    assert "samples: 4 read = 4 ok + 0 failed" in run(tmp_path, *pick)
    label = ["entities", "label", "picks", "--kb", kb, "--threshold", "0.9"]
    said = run(tmp_path, *label, "--out", "l/labels.parquet")
    assert said.splitlines() == [
        "l/labels.parquet: 4 read = 2 kept + 2 dropped + 0 failed",
        "  dropped: 1 no mention, 0 not linked, 1 below the threshold, 0 rare entity",
        "  rule: threshold 0.9, min images 1",
        "l/vocabulary.parquet: 2 entities",
    ]
    labels = read_labels(tmp_path / "l/labels.parquet").selection
    assert read_entity_ids(labels.path, labels.id, "00000") == [["red"], ["blue"]]
    run(tmp_path, "export", "in", "--selection", "l/labels.parquet", "--out", "clean")
    assert {name.partition(".")[0] for name, _ in read_tar(tmp_path / "clean/00000.tar")} == {
        "k0",
        "k3",
    }
    source = SourceConfig(data=str(tmp_path / "in"), selection=str(labels.path))
    (training,) = prepare_data(make_config("", sources=(source,)), tmp_path / "run").plans
    assert [training.name(i) for i in range(training.size)] == ["00000/k0", "00000/k3"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "exactly one of --threshold and --min-precision"),
        ({"threshold": 0.1, "min_precision": 0.9}, "exactly one of"),
        ({"min_precision": 0.9}, "--min-precision and --marks go together"),
        ({"threshold": 0.1, "marks": Path("m")}, "--min-precision and --marks go together"),
    ],
)
def test_a_threshold_comes_from_one_place(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        LabelConfig(picks="p", out="o", **options)  # type: ignore[arg-type]
