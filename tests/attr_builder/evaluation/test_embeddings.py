"""Embeddings of labelled and captioned sets: in their order, and nothing lost without a word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from attr_builder.evaluation.embeddings import (
    CaptionedItem,
    embed_captioned,
    embed_labelled,
    open_as_trainers_do,
    open_upright,
)
from attr_builder.labelled_images.sources import SourceItem, open_source
from lesstext.clip import ClipModel, load_model
from tests.attr_builder.conftest import SIX, photo
from tests.lesstext.builders import encoded


@pytest.fixture(scope="module")
def model(tiny_model: tuple[str, str]) -> ClipModel:
    return load_model(*tiny_model)


def test_labelled_images_in_the_order_of_the_set(model: ClipModel, photos: Path) -> None:
    source = open_source(photos, classes=SIX)
    told: list[int] = []
    found = embed_labelled(model, source, batch_size=7, on_batch=told.append)
    assert told == [7, 7, 4]
    assert found.vectors.shape == (18, 16) and found.failures == []
    assert found.labels.tolist() == source.labels and found.rows.tolist() == list(range(18))
    alone = model.preprocess(open_as_trainers_do(source[4].data))
    assert np.abs(found.vectors[4] - model.embed_images([alone[None]])[0]).max() < 1e-6


def test_captioned_images_with_all_their_captions(model: ClipModel) -> None:
    items = [CaptionedItem(f"x/{i}", ("a", "b", "c")[: i + 1], encoded(photo(i))) for i in range(3)]
    items.insert(1, CaptionedItem("x/bad", ("d",), b"no image"))
    found = embed_captioned(model, items, batch_size=2)
    assert found.owners.tolist() == [0, 1, 1, 2, 2, 2] and found.rows.tolist() == [0, 2, 3]
    assert found.images.shape == (3, 16)
    expected = model.embed_texts(["a", "a", "b", "a", "b", "c"])
    assert np.abs(found.texts - expected).max() < 1e-6
    assert [row for row, _ in found.failures] == [1]


def test_one_bad_image_of_any_kind_ends_nothing(model: ClipModel) -> None:
    class CutOff:
        @property
        def data(self) -> bytes:
            raise EOFError("cut off")

    item = SourceItem("good", 3, encoded(photo(1)), "good.png")
    items: list[Any] = [item, CutOff(), item]
    found = embed_labelled(model, items)
    assert found.rows.tolist() == [0, 2] and found.failures == [(1, "cut off")]


def test_the_random_state_of_a_trainer_does_not_move(model: ClipModel, photos: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    embed_labelled(model, open_source(photos, classes=SIX))
    assert torch.equal(torch.rand(3), expected)


def test_zero_shot_ignores_the_orientation_that_shards_are_read_with() -> None:
    image = photo(1, 60, 40)
    exif = image.getexif()
    exif[0x0112] = 6
    data = encoded(image, "JPEG", exif=exif)
    assert open_as_trainers_do(data).size == (60, 40)
    assert open_upright(data).size == (40, 60)
