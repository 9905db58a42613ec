"""Retrieval by hand and by brute force, and captioned images read from shards."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import fsspec
import numpy as np
import pytest

from attr_builder.errors import SourceError, UsageError
from attr_builder.evaluation.embeddings import CaptionedItem
from attr_builder.evaluation.retrieval import (
    CaptionedImages,
    image_ranks,
    measure_retrieval,
    recalls,
    text_ranks,
)
from lesstext.clip import ClipModel, load_model
from tests.attr_builder.conftest import photo
from tests.lesstext.builders import encoded, tar_bytes, write_tar

WORDS = ("red", "green", "blue", "dog", "cat", "tree")


@pytest.fixture(scope="module")
def model(tiny_model: tuple[str, str]) -> ClipModel:
    return load_model(*tiny_model)


def captioned(
    key: str, seed: int, *texts: str, image: bytes | None = None
) -> list[tuple[str, bytes]]:
    """The members of one sample; several texts are in its json, one is its txt."""
    members = [(f"{key}.png", image or encoded(photo(seed, 60, 50)))]
    if len(texts) == 1:
        return [*members, (f"{key}.txt", texts[0].encode())]
    return [*members, (f"{key}.json", json.dumps({"captions": texts}).encode())]


def test_retrieval_by_hand() -> None:
    """Three images on the axes; captions 0, 1 -> image 0, 2 -> image 1, 3 -> image 2."""
    images = np.eye(3, dtype=np.float32)
    texts = np.array([[0.1, 0.9, 0], [0.8, 0.6, 0], [0.9, 0.3, 0], [0, 0, 1]], dtype=np.float32)
    owners = np.array([0, 0, 1, 2])
    # Image 0: best own caption scores 0.8, caption 2 scores 0.9 -> rank 1.
    # Image 1: own caption 0.3; captions 0 (0.9) and 1 (0.6) are better -> rank 2.
    assert image_ranks(images, texts, owners).tolist() == [1, 2, 0]
    # Captions: 0 prefers image 1, 1 prefers its own, 2 prefers image 0, 3 its own.
    assert text_ranks(images, texts, owners).tolist() == [1, 0, 1, 0]
    assert recalls("i2t", np.array([1, 2, 0]))["i2t_R@1"] == pytest.approx(1 / 3)


def test_a_collapsed_model_earns_nothing() -> None:
    same = np.full((30, 4), 0.5, dtype=np.float32)
    owners = np.arange(30)
    assert recalls("x", image_ranks(same, same, owners))["x_R@10"] == 0
    assert recalls("x", text_ranks(same, same, owners))["x_R@10"] == 0


def test_one_caption_each_equals_open_clips_formula() -> None:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(50, 8)).astype(np.float32)
    texts = (images + 2 * rng.normal(size=(50, 8))).astype(np.float32)
    ranking = np.argsort(-(images @ texts.T), axis=1)
    expected = np.where(ranking == np.arange(50)[:, None])[1]
    assert image_ranks(images, texts, np.arange(50)).tolist() == expected.tolist()
    ranking = np.argsort(-(texts @ images.T), axis=1)
    expected = np.where(ranking == np.arange(50)[:, None])[1]
    assert text_ranks(images, texts, np.arange(50)).tolist() == expected.tolist()


def test_captioned_images_are_those_with_image_and_text(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_tar(tmp_path / "b.tar", [*captioned("k", 2, "one text"), ("alone.txt", b"no image")])
    write_tar(
        tmp_path / "a.tar",
        [
            *captioned("m", 1, " two ", "", "texts"),
            *captioned("m", 5, "the key again"),
            ("bare.png", encoded(photo(3))),
        ],
    )
    with caplog.at_level(logging.WARNING):
        images = CaptionedImages(str(tmp_path))
    assert [item.name for item in images] == ["a/m", "b/k"]
    assert [item.captions for item in images] == [("two", "texts"), ("one text",)]
    assert images[1].data == encoded(photo(2, 60, 50))
    assert "shard a: " in caplog.text
    with pytest.raises(SourceError, match="holds no images with captions"):
        CaptionedImages(str(write_tar(tmp_path / "none" / "x.tar", [("a.txt", b"text")])))


def test_a_limit_takes_evenly_spaced_images(tmp_path: Path) -> None:
    members = [member for i in range(9) for member in captioned(f"k{i}", i, f"text {i}")]
    write_tar(tmp_path / "x.tar", members)
    assert [item.name for item in CaptionedImages(str(tmp_path), 4)] == [
        "x/k0",
        "x/k2",
        "x/k4",
        "x/k6",
    ]
    assert len(CaptionedImages(str(tmp_path), 90)) == 9


def test_remote_shards_are_copied_for_as_long_as_they_are_read() -> None:
    with fsspec.open("memory://captioned/x.tar", "wb") as file:
        file.write(tar_bytes(captioned("k", 2, "one", "two")))
    images = CaptionedImages("memory://captioned/x.tar")
    copy = images._places[0].path
    assert images[0] == CaptionedItem("x/k", ("one", "two"), encoded(photo(2, 60, 50)))
    assert copy.exists()
    del images
    assert not copy.exists()


def test_measured_on_shards_with_an_unreadable_image(model: ClipModel, tmp_path: Path) -> None:
    members = []
    for i, word in enumerate(WORDS):
        image = b"no image" if word == "blue" else None
        members += captioned(f"k{i}", i, f"a {word} {i}", f"one {word}", image=image)
    members += captioned("blank", 7, "  ")
    write_tar(tmp_path / "x.tar", members)
    images = CaptionedImages(str(tmp_path))
    found = measure_retrieval(model, images)
    assert found.names == ["x/k0", "x/k1", "x/k3", "x/k4", "x/k5"]
    assert found.owners.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert [row for row, _ in found.failures] == [2, 6]
    assert "not an image" in found.failures[0][1]
    assert found.failures[1][1] == "its caption is empty"
    assert (found.image_ranks.shape, found.text_ranks.shape) == ((5,), (10,))
    with pytest.raises(UsageError, match=r"no image could be evaluated \(1 failed; the first: its"):
        measure_retrieval(model, CaptionedImages(str(write_blank(tmp_path / "blank"))))


def write_blank(folder: Path) -> Path:
    return write_tar(folder / "x.tar", captioned("blank", 7, "  "))
