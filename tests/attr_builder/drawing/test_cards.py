"""Cards that say nothing but a class's name."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from attr_builder.drawing.cards import CARDS_PER_CLASS, Cards
from attr_builder.errors import RowError
from attr_builder.labelled_images.classes import ClassList, imagenet_classes


def pixels(cards: Cards, index: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(Image.open(io.BytesIO(cards[index].data)))


def test_each_class_has_its_cards_in_order() -> None:
    cards = Cards(ClassList(("a", "b", "c"), ("cat", "hair dryer", "CAT")))
    assert len(cards) == 3 * CARDS_PER_CLASS == len(cards.labels)
    assert [cards[i].label for i in range(len(cards))] == cards.labels == [0, 0, 1, 1, 2, 2]
    assert len({cards[i].key for i in range(len(cards))}) == len(cards)
    with pytest.raises(IndexError):
        cards[len(cards)]


def test_a_card_is_one_ground_and_the_name_on_it_the_same_every_time() -> None:
    cards = Cards(ClassList(("a", "b"), ("cat", "dog")))
    for index in range(len(cards)):
        image = pixels(cards, index)
        assert image.shape == (224, 224, 3)
        _, counts = np.unique(image.reshape(-1, 3), axis=0, return_counts=True)
        assert counts.max() > 0.7 * 224 * 224
        assert 0.005 < 1 - counts.max() / counts.sum() < 0.3
        assert cards[index].data == Cards(ClassList(("x", "y"), ("cat", "dog")))[index].data
    assert cards[0].data != cards[1].data and cards[0].data != cards[2].data


def test_every_imagenet_name_fits_its_card() -> None:
    classes = imagenet_classes()
    longest = sorted(range(len(classes)), key=lambda label: -len(classes.names[label]))[:20]
    cards = Cards(classes)
    for label in longest:
        assert np.ptp(pixels(cards, label * CARDS_PER_CLASS), axis=(0, 1)).max() > 80


def test_what_the_font_cannot_draw_is_refused() -> None:
    cards = Cards(ClassList(("a",), ("猫",)))
    with pytest.raises(RowError, match="lacks 猫"):
        cards[0]
