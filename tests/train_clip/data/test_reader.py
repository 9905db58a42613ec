"""From a position to pixels and a caption, and what happens to bad samples."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lesstext.shards.captions import read_caption
from lesstext.shards.tar_reading import index_shard
from tests.train_clip.conftest import caption, make_config, sample, write_shards, write_tar
from train_clip.data.reader import MAX_TRIES, Produced, ReadSettings, SampleReader
from train_clip.data.sources import prepare_data
from train_clip.errors import DataError
from train_clip.settings import CaptionAugment, ImageAugment


def reader(data: Path, run: Path, captions: str = "auto", **changes: Any) -> SampleReader:
    plans = prepare_data(make_config(data), run).plans
    settings = ReadSettings(
        image=changes.get("image", ImageAugment()),
        caption=changes.get("caption", CaptionAugment()),
        captions=(captions,),
        size_px=16,
        max_pixels=changes.get("max_pixels", 10**6),
        seed=3,
    )
    return SampleReader(plans, settings)


def produce(one: SampleReader, position: int, index: int) -> tuple[Produced, list[int]]:
    out = np.zeros((16, 16, 3), dtype=np.uint8)
    produced = one.produce(position, 0, index, out)
    return produced, out.reshape(-1).tolist()


def test_a_sample_comes_with_its_own_caption(shards: Path, tmp_path: Path) -> None:
    one = reader(shards, tmp_path / "run")
    for index in (0, 12, 39):
        assert produce(one, 7, index)[0] == Produced(7, 0, index, caption(index), False, ())


def test_the_view_depends_on_seed_and_position(shards: Path, tmp_path: Path) -> None:
    image = ImageAugment(crop_scale=(0.2, 1.0), flip_prob=0.5)
    one = reader(shards, tmp_path / "run", image=image)
    again = reader(shards, tmp_path / "run", image=image)
    assert produce(one, 7, 5) == produce(again, 7, 5)
    assert produce(one, 7, 5)[1] != produce(one, 8, 5)[1]


def test_several_captions_are_sampled(shards: Path, tmp_path: Path) -> None:
    pick = CaptionAugment(pick="random")
    one = reader(shards, tmp_path / "run", captions="captions", caption=pick)
    seen = {produce(one, position, 4)[0].caption for position in range(40)}
    assert seen == {f"{caption(4)} {n}" for n in range(3)}
    first = reader(shards, tmp_path / "run", captions="captions")
    assert produce(first, 0, 4)[0].caption == f"{caption(4)} 0"


def test_bad_samples_are_replaced_by_the_seed_and_told(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "in", (10, 10), bad=lambda n: n in (3, 4))
    one = reader(folder, tmp_path / "run")
    produced, pixels = produce(one, 11, 3)
    assert produced.index not in (3, 4)
    assert produced.caption == caption(produced.index)
    assert produced.bad[0].name == "00000/00003"
    assert "image" in produced.bad[0].reason
    assert (produced, pixels) == produce(reader(folder, tmp_path / "run"), 11, 3)


def test_a_source_of_bad_samples_is_an_error_that_names_it(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "in", (6,), bad=lambda _: True)
    with pytest.raises(DataError, match=f"{MAX_TRIES} samples in a row of .*in.*00000/00002"):
        produce(reader(folder, tmp_path / "run"), 0, 2)


def test_a_shard_cut_after_indexing_is_told(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "in", (8,))
    one = reader(folder, tmp_path / "run")
    path = folder / "00000.tar"
    os.truncate(path, path.stat().st_size // 2)
    produced, _ = produce(one, 0, 7)
    assert produced.index < 4
    assert "the shard ends" in produced.bad[0].reason


def test_too_many_pixels_and_empty_captions_are_bad(tmp_path: Path) -> None:
    members = [*sample("a", 1)[:1], ("a.txt", b"  "), *sample("b", 2)]
    path = write_tar(tmp_path / "in" / "x.tar", members)
    produced, _ = produce(reader(path, tmp_path / "run"), 0, 0)
    assert (produced.index, produced.bad[0].reason) == (1, "its caption is empty")
    with pytest.raises(DataError, match="exceed the limit of 100 pixels"):
        produce(reader(path, tmp_path / "run", max_pixels=100), 0, 1)


@pytest.mark.parametrize(
    ("text", "field", "expected"),
    [
        (b'{"caption": "a"}', "auto", ["a"]),
        (b'{"captions": ["a", "b"], "caption": "c"}', "auto", ["c"]),
        (b'{"captions": ["a", "b"], "caption": null}', "auto", ["a", "b"]),
        (b'{"captions": ["a", "b"], "caption": "c"}', "captions", ["a", "b"]),
        (b'{"alt": "x", "caption": "c"}', "alt", ["x"]),
    ],
)
def test_captions_in_json(tmp_path: Path, text: bytes, field: str, expected: list[str]) -> None:
    members = [sample("a", 1)[0], ("a.json", text)]
    path = write_tar(tmp_path / "in" / "x.tar", members)
    assert reader(path, tmp_path / "run").read(0, 0, field)[1] == expected


@pytest.mark.parametrize("text", [b"{}", b'{"caption": 3}', b'{"captions": [1]}', b"[1]", b"{x"])
def test_json_without_captions_is_refused(tmp_path: Path, text: bytes) -> None:
    path = write_tar(tmp_path / "in" / "x.tar", [sample("a", 1)[0], ("a.json", text)])
    with pytest.raises(ValueError, match="its json holds no caption"):
        reader(path, tmp_path / "run").read(0, 0, "auto")


@pytest.mark.parametrize(
    "texts",
    [
        [("a.txt", b"one"), ("a.json", b'{"caption": "two", "captions": ["three"]}')],
        [("a.json", b'{"caption": "two", "captions": ["three", "four"]}')],
        [("a.json", b'{"caption": ["two", "five"]}')],
        [("a.json", b'{"caption": 2, "captions": ["three", "four"]}')],
        [("a.json", b'{"captions": "three"}')],
        [("a.json", b'{"captions": [null, "four"]}')],
    ],
)
def test_what_is_trained_on_is_what_tables_describe(
    tmp_path: Path, texts: list[tuple[str, bytes]]
) -> None:
    path = write_tar(tmp_path / "in" / "x.tar", [sample("a", 1)[0], *texts])
    with path.open("rb") as file:
        described = read_caption(file, index_shard(path).samples[0])
    assert reader(path, tmp_path / "run").read(0, 0, "auto")[1][0] == described
