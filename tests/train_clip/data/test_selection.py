"""Filtering while reading: selections, rules, and hiding the text that scores found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lesstext.annotators.text_area import TextArea
from lesstext.annotators.words import Words
from lesstext.cli import commands
from lesstext.engines.whole_run import RunConfig
from lesstext.export.plan import ExportConfig
from lesstext.policies import text_area
from lesstext.tables.selecting import select
from tests.train_clip.conftest import make_config, sample, write_shards, write_tar
from tests.train_clip.runs import newest, rows
from train_clip.config import TrainConfig
from train_clip.data.sources import prepare_data
from train_clip.errors import ConfigError, DataError
from train_clip.settings import ImageAugment, SourceConfig
from train_clip.training.loop import train


def lettered(seed: int) -> bytes:
    """A picture with a magenta patch, which the fake detector calls text, on every third."""
    pixels = np.full((48, 64, 3), seed, dtype=np.uint8)
    if seed % 3 == 0:
        pixels[8:24, 16:48] = (255, 0, 255)  # BGR and RGB alike
    return cv2.imencode(".jpg", pixels)[1].tobytes()


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`in/` with 4 shards, `scores/`, `keep.parquet`, and `clean/`, the exported shards."""
    root = tmp_path_factory.mktemp("scored")
    number = 0
    for shard, size in enumerate((9, 6, 1, 10)):
        members: list[Any] = []
        for _ in range(size):
            members += sample(f"{number:05d}", number, lettered(number))
            number += 1
        write_tar(root / "in" / f"{shard:05d}.tar", members)
    write_tar(root / "in" / "00004.tar", sample("99999", 99, lettered(99)))  # nothing is kept
    config = RunConfig(
        shards=(str(root / "in"),),
        out=root / "scores",
        annotator=TextArea(detector="fake"),
        device="cpu",
        workers=1,
    )
    assert commands.annotate(config) == 0
    keep = root / "keep.parquet"
    select([root / "scores"], keep, text_area.at_most(0.01))
    exporting = ExportConfig(
        shards=(str(root / "in"),), selection=keep, out=root / "clean", workers=1
    )
    assert commands.export(exporting) == 0
    return root


def with_source(root: Path, **source: Any) -> TrainConfig:
    one = SourceConfig(data=str(root / "in"), **source)
    return make_config("", sources=(one,), steps=6)


def used(config: TrainConfig, out: Path) -> list[str]:
    (plan,) = prepare_data(config, out).plans
    return [plan.name(i) for i in range(plan.size)]


def test_filtered_by_selection_equals_exported(scored: Path, tmp_path: Path) -> None:
    selected = train(with_source(scored, selection=str(scored / "keep.parquet")), tmp_path / "a")
    exported = train(make_config(scored / "clean", steps=6), tmp_path / "b")
    assert selected["ledger"][0]["n_usable"] == exported["ledger"][0]["n_usable"] == 17
    assert selected["ledger"][0]["pool_size"] == 27
    assert selected["final_weights"] == exported["final_weights"]
    assert rows(tmp_path / "a") == rows(tmp_path / "b")
    assert newest(tmp_path / "a").step == 6


def test_a_rule_equals_its_selection(scored: Path, tmp_path: Path) -> None:
    keep = used(with_source(scored, selection=str(scored / "keep.parquet")), tmp_path / "a")
    where = with_source(scored, where="text_area_ratio <= 0.01", scores=str(scored / "scores"))
    assert used(where, tmp_path / "b") == keep
    assert keep[:3] == ["00000/00001", "00000/00002", "00000/00004"]
    assert not any(name.startswith("00004/") for name in keep)


def test_an_empty_selection_is_an_error(scored: Path, tmp_path: Path) -> None:
    nothing = with_source(scored, where="text_area_ratio > 2", scores=str(scored / "scores"))
    with pytest.raises(DataError, match=r"'text_area_ratio > 2' keeps none of the 27 samples"):
        train(nothing, tmp_path / "run")


def test_a_selection_of_other_shards_is_refused(scored: Path, tmp_path: Path) -> None:
    other = write_tar(tmp_path / "in" / "other.tar", sample("00001", 1))
    source = SourceConfig(data=str(other), selection=str(scored / "keep.parquet"))
    with pytest.raises(ConfigError, match="selection of other shards: it says nothing about other"):
        train(make_config("", sources=(source,)), tmp_path / "run")


def test_a_selection_of_another_version_is_refused(scored: Path, tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "in", (9,))
    source = SourceConfig(data=str(folder), selection=str(scored / "keep.parquet"))
    with pytest.raises(ConfigError, match="another version of shard 00000"):
        train(make_config("", sources=(source,)), tmp_path / "run")


def test_text_regions_are_hidden(scored: Path, tmp_path: Path) -> None:
    image = ImageAugment(text_mask="mean", crop_scale=(1.0, 1.0))
    source = SourceConfig(data=str(scored / "in"), scores=str(scored / "scores"))
    config = make_config("", sources=(source,), image=image, steps=1, batch_size=27)
    (plan,) = prepare_data(config, tmp_path / "plan").plans
    ((polygon, word),) = plan.regions(0)
    assert word == ""
    corners = np.sort(polygon[:, 0])[[0, -1]].tolist(), np.sort(polygon[:, 1])[[0, -1]].tolist()
    assert np.allclose(corners, ([16, 48], [8, 24]), atol=1.5)
    assert plan.regions(1) == []
    result = train(config, tmp_path / "run")
    assert result["text_hidden"] == 10  # numbers 0, 3, …, 24 and 99


@pytest.fixture(scope="module")
def read(scored: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables of words: RED in every text that the fake detector finds."""
    out = tmp_path_factory.mktemp("read") / "words"
    config = RunConfig(
        shards=(str(scored / "in"),),
        out=out,
        annotator=Words(detector="fake"),
        device="cpu",
        workers=1,
    )
    assert commands.annotate(config) == 0
    for path in out.glob("*.parquet"):
        table = pq.read_table(path)
        words = [[{**word, "text": "RED"} for word in row] for row in table["words"].to_pylist()]
        column = table.schema.get_field_index("words")
        field = table.schema.field(column)
        changed = table.set_column(column, field, pa.array(words, field.type))
        footer = {k: v for k, v in pq.read_metadata(path).metadata.items() if k != b"ARROW:schema"}
        pq.write_table(changed.replace_schema_metadata(footer), path)
    return out


def hiding(scored: Path, read: Path, **image: Any) -> TrainConfig:
    source = SourceConfig(data=str(scored / "in"), words=str(read))
    shown = ImageAugment(text_mask="mean", crop_scale=(1.0, 1.0), **image)
    return make_config("", sources=(source,), image=shown, steps=1, batch_size=27)


def test_regions_of_words_are_hidden_too(scored: Path, read: Path, tmp_path: Path) -> None:
    result = train(hiding(scored, read), tmp_path / "run")
    assert result["text_hidden"] == 10  # numbers 0, 3, …, 24 and 99


def test_only_words_of_the_caption_are_hidden(scored: Path, read: Path, tmp_path: Path) -> None:
    config = hiding(scored, read, masked_regions="repeated")
    (plan,) = prepare_data(config, tmp_path / "plan").plans
    assert [word for _, word in plan.regions(0)] == ["RED"]
    result = train(config, tmp_path / "run")
    assert result["text_hidden"] == 4  # of the captions of 0, 3, 6, 9 "red" is a word


def test_a_share_is_hidden_alike_in_every_run(scored: Path, read: Path, tmp_path: Path) -> None:
    config = hiding(scored, read, masked_regions="repeated", text_mask_prob=0.5)
    first, second = (train(config, tmp_path / name) for name in "ab")
    assert 0 < first["text_hidden"] < 4
    assert first["final_weights"] == second["final_weights"]


def test_words_of_another_shard_hide_nothing(scored: Path, read: Path, tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "in", (9,))
    source = SourceConfig(data=str(folder), words=str(read))
    masked = make_config("", sources=(source,), image=ImageAugment(text_mask="mean"))
    with pytest.raises(DataError, match="is of another version of shard 00000"):
        prepare_data(masked, tmp_path / "run")


def test_scores_without_regions_cannot_hide_text(scored: Path, tmp_path: Path) -> None:
    config = RunConfig(
        shards=(str(scored / "in"),),
        out=tmp_path / "scores",
        annotator=TextArea(detector="fake", regions=False),
        device="cpu",
        workers=1,
    )
    commands.annotate(config)
    source = SourceConfig(data=str(scored / "in"), scores=str(tmp_path / "scores"))
    masked = make_config("", sources=(source,), image=ImageAugment(text_mask="blur"))
    with pytest.raises(DataError, match="holds no regions, so that text"):
        prepare_data(masked, tmp_path / "run")
