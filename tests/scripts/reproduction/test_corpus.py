"""The corpus: what is drawn is what the truth says, and what is not drawn stays untouched."""

from __future__ import annotations

import io
import json
import random
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from make_corpus import LOOKS, UNRELATED, CorpusConfig, apply_look, make_corpus
from PIL import Image
from reproduction.drawing import FONT_FILES, SMALL_HEIGHT, Hard, draw_text

from lesstext.errors import UsageError

CONFIG = CorpusConfig(renderings=40, samples_per_shard=200, n_fonts=3, extra_share=0.25)


@pytest.fixture(scope="module")
def corpus(tiny_imagenet: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of 8 photos, 40 renderings each."""
    out = tmp_path_factory.mktemp("corpus")
    make_corpus(tiny_imagenet, out, CONFIG)
    return out


def truth(corpus: Path, pool: str = "*") -> list[dict[str, Any]]:
    paths = sorted((corpus / "truth").glob(f"{pool}-*.parquet"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_shares_of_text_and_of_its_kinds(corpus: Path) -> None:
    rows = truth(corpus)
    assert len(rows) == 3 * 8 * 40
    with_text = [row for row in rows if row["has_text"]]
    assert len(with_text) / len(rows) == pytest.approx(0.4, abs=0.05)
    kinds = [row["kind"] for row in with_text]
    assert kinds.count("swapped") / len(kinds) == pytest.approx(0.5, abs=0.08)
    assert kinds.count("parrot") / len(kinds) == pytest.approx(0.35, abs=0.08)
    hard = sum(row["hard"] != "none" for row in with_text)
    assert hard / len(with_text) == pytest.approx(0.1, abs=0.05)


def test_captions_and_words_are_of_their_kind(corpus: Path) -> None:
    for row in truth(corpus):
        assert row["caption_class"] in row["caption"]
        same = row["photo_class"] == row["caption_class"]
        word = (row["text"] or "").casefold()
        if row["kind"] == "swapped":
            assert not same and word == row["caption_class"]
        elif row["kind"] == "parrot":
            assert same and word == row["caption_class"]
        elif row["kind"] == "unrelated":
            assert same and word in UNRELATED
        else:
            assert same and not row["has_text"] and row["text"] is None


def test_the_truth_is_not_in_the_shards(corpus: Path) -> None:
    keys = []
    for shard in sorted((corpus / "train").glob("*.tar")):
        with tarfile.open(shard) as tar:
            for name in tar.getnames():
                if name.endswith(".json"):
                    member = tar.extractfile(name)
                    assert member is not None
                    fields = json.loads(member.read())
                    assert set(fields) == {"key", "caption"}
                    keys.append(fields["key"])
    assert keys == [row["key"] for row in truth(corpus, "train")]


def test_photos_are_in_one_pool_only(corpus: Path) -> None:
    train, extra = ({row["photo"] for row in truth(corpus, pool)} for pool in ("train", "extra"))
    assert len(train) == 18 and len(extra) == 6
    assert not train & extra
    validated = {path.stem for path in (corpus / "val").rglob("*.jpg")}
    assert len(validated) == 9
    assert not validated & (train | extra)


def test_validation_photos_can_be_taken_from_the_training_split(
    tiny_imagenet: Path, tmp_path: Path
) -> None:
    config = CorpusConfig(renderings=1, validation_photos=5, photos_per_class=2)
    found = make_corpus(tiny_imagenet, tmp_path, config)
    assert found["photos"] == {"extra": 0, "train": 6, "val": 24}
    trained = {row["photo"] for row in truth(tmp_path)}
    assert not trained & {path.stem for path in (tmp_path / "val").rglob("*.jpg")}


def test_heldout_captions_differ_within_a_class(corpus: Path) -> None:
    with tarfile.open(corpus / "heldout/heldout-00000.tar") as tar:
        texts = [tar.extractfile(n) for n in tar.getnames() if n.endswith(".txt")]
        captions = [text.read().decode() for text in texts if text is not None]
    assert len(captions) == 9 == len(set(captions))


def test_the_same_settings_give_the_same_bytes(
    corpus: Path, tiny_imagenet: Path, tmp_path: Path
) -> None:
    make_corpus(tiny_imagenet, tmp_path, CONFIG, workers=2)
    assert contents(tmp_path) == contents(corpus)


def test_a_finished_corpus_is_left_alone_and_never_mixed(corpus: Path, tiny_imagenet: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in corpus.rglob("*")}
    make_corpus(tiny_imagenet, corpus, CONFIG)
    assert {path: path.stat().st_mtime_ns for path in corpus.rglob("*")} == before
    with pytest.raises(UsageError, match="holds another corpus"):
        make_corpus(tiny_imagenet, corpus, CorpusConfig(seed=1))


def test_sources_that_will_not_do_are_named(tiny_imagenet: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"classes\.csv has no class swan"):
        make_corpus(tiny_imagenet, tmp_path / "a", CorpusConfig(classes=("swan", "lion")))
    (tmp_path / "b").mkdir()
    (tmp_path / "b/classes.csv").write_bytes((tiny_imagenet / "classes.csv").read_bytes())
    with pytest.raises(UsageError, match=r"needs one train\.parquet, found 0"):
        make_corpus(tmp_path / "b", tmp_path / "c", CorpusConfig())


@pytest.mark.parametrize("hard", ["none", "small", "faint", "rotated"])
def test_text_lies_where_the_truth_says(hard: Hard) -> None:
    grey = Image.new("RGB", (128, 128), (128, 128, 128))
    for seed in range(60):
        painted, drawn = draw_text(
            grey, "banana", random.Random(seed), hard=hard, n_fonts=len(FONT_FILES)
        )
        changed = np.abs(np.asarray(painted, dtype=int) - 128).max(axis=2) > 4
        ys, xs = np.nonzero(changed)
        assert len(xs), f"seed {seed}: nothing was drawn"
        corners = np.array(drawn.polygon).reshape(4, 2)
        # What lies behind the letters reaches beyond them, by less than half their height.
        slack = 3 + 0.5 * drawn.height_ratio * 128
        for values, axis in ((xs, 0), (ys, 1)):
            low, high = corners[:, axis].min(), corners[:, axis].max()
            assert low - slack <= values.min() and values.max() <= high + slack
            assert values.min() <= low + slack and values.max() >= high - slack
        assert corners.min() >= -2 and corners.max() <= 130
        if hard == "small":
            assert drawn.height_ratio <= SMALL_HEIGHT[1] + 0.02
        if hard == "faint":
            assert np.abs(np.asarray(painted, dtype=int) - 128).max() <= 0.31 * 128


def test_looks_change_the_picture_as_the_caption_says() -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    pixels = {look: np.asarray(apply_look(image, look), dtype=float) for look in LOOKS}
    assert np.array_equal(pixels["photo"], np.asarray(image))
    assert np.ptp(pixels["black and white photo"], axis=2).max() == 0
    assert pixels["dark photo"].mean() < 0.5 * pixels["photo"].mean()
    assert pixels["blurry photo"].std() < 0.5 * pixels["photo"].std()


def test_every_shard_decodes(corpus: Path) -> None:
    for shard in (corpus / "train").glob("*.tar"):
        with tarfile.open(shard) as tar:
            for name in tar.getnames():
                if name.endswith(".jpg"):
                    member = tar.extractfile(name)
                    assert member is not None
                    assert Image.open(io.BytesIO(member.read())).size == (128, 128)


def test_captions_that_do_not_fit_take_the_place_of_clean_ones_alone(
    tiny_imagenet: Path, corpus: Path, tmp_path: Path
) -> None:
    make_corpus(tiny_imagenet, tmp_path, replace(CONFIG, misfit_share=0.25))
    misfits = [row for row in truth(tmp_path) if row["kind"] == "misfit"]
    n_without_text = sum(not row["has_text"] for row in truth(tmp_path))
    assert len(misfits) / n_without_text == pytest.approx(0.25, abs=0.06)
    for row in misfits:
        assert row["caption_class"] != row["photo_class"] and not row["has_text"]
        assert row["caption_class"] in row["caption"]
    with_text = [[row for row in truth(place) if row["has_text"]] for place in (tmp_path, corpus)]
    assert with_text[0] == with_text[1]
