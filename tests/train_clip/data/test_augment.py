"""Augmentation: small cases by hand, PIL as the reference, and invariants."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from lesstext.fills import FILLS, Fill
from train_clip.data.augment import (
    augment_caption,
    augment_image,
    crop_and_resize,
    crop_box,
    erase,
    jitter,
    pick_caption,
    shift_hue,
    to_view,
)
from train_clip.data.randaugment import (
    OPERATIONS,
    adjust_brightness,
    adjust_colour,
    adjust_contrast,
    adjust_sharpness,
    autocontrast,
    posterize,
    randaugment,
    solarize,
)
from train_clip.settings import CaptionAugment, ImageAugment, TextMask

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (32, 32, 3), dtype=np.uint8)
SQUARE = np.array([[8, 8], [16, 8], [16, 16], [8, 16]], dtype=np.float32)


@given(st.integers(1, 300), st.integers(1, 300), st.floats(0.05, 1.0), st.integers(0, 2**32 - 1))
def test_crops_lie_inside_and_keep_their_share(w: int, h: int, low: float, seed: int) -> None:
    one = ImageAugment(crop_scale=(low, 1.0))
    x, y, cw, ch = crop_box(w, h, one, np.random.default_rng(seed))
    assert 0 <= x <= x + cw <= w
    assert 0 <= y <= y + ch <= h
    assert cw > 0
    assert ch > 0


def test_crop_area_and_aspect_are_as_asked() -> None:
    one = ImageAugment(crop_scale=(0.25, 0.5))
    boxes = [crop_box(1000, 1000, one, np.random.default_rng(n))[2:] for n in range(200)]
    areas = np.array([w * h / 1e6 for w, h in boxes])
    aspects = np.array([w / h for w, h in boxes])
    assert 0.245 < areas.min() < 0.27
    assert 0.48 < areas.max() < 0.505
    assert 0.745 < aspects.min() < 0.78
    assert 1.28 < aspects.max() < 1.34


def test_a_whole_square_is_only_resized() -> None:
    halves = crop_and_resize(PICTURE, (0, 0, 32, 32), 16)
    expected = PICTURE.reshape(16, 2, 16, 2, 3).mean(axis=(1, 3))
    assert np.abs(halves - expected).max() <= 1


def test_polygons_follow_the_crop() -> None:
    assert to_view(SQUARE, (4, 8, 16, 8), 32).tolist() == [[8, 0], [24, 0], [24, 32], [8, 32]]


def test_every_fill_can_be_chosen() -> None:
    assert get_args(TextMask) == ("none", *FILLS)


@pytest.mark.parametrize("how", FILLS)
def test_regions_outside_the_view_hide_nothing(how: Fill) -> None:
    one = ImageAugment(crop_scale=(1, 1), crop_aspect=(1, 1), text_mask=how)
    view, hidden = augment_image(PICTURE, [SQUARE + 100], 32, one, np.random.default_rng(0))
    assert not hidden
    assert (view == PICTURE).all()


@pytest.mark.parametrize("how", FILLS)
def test_a_stroke_that_resizing_spread_is_hidden_whole(how: Fill) -> None:
    picture = np.full((32, 32, 3), 100, dtype=np.uint8)
    picture[8:17, 8:17] = 255
    one = ImageAugment(crop_scale=(1, 1), crop_aspect=(1, 1), text_mask=how)
    view, hidden = augment_image(picture, [SQUARE], 32, one, np.random.default_rng(0))
    assert hidden
    filled = view[7:17, 8:16]
    assert np.ptp(filled.astype(int)) < 60, "of 155"
    assert (view[:6] == 100).all() and (view[19:] == 100).all()


def test_text_is_hidden_in_the_cropped_view() -> None:
    picture = np.full((64, 64, 3), 50, dtype=np.uint8)
    picture[16:32, 16:32] = 255
    one = ImageAugment(crop_scale=(1, 1), crop_aspect=(1, 1), text_mask="local-mean")
    view, hidden = augment_image(picture, [SQUARE * 2], 32, one, np.random.default_rng(0))
    assert hidden
    assert (view == 50).all()
    never = ImageAugment(text_mask="local-mean", text_mask_prob=0.0)
    assert not augment_image(picture, [SQUARE * 2], 32, never, np.random.default_rng(0))[1]


def test_flip_mirrors() -> None:
    plain = ImageAugment(crop_scale=(1, 1), crop_aspect=(1, 1))
    flipped = ImageAugment(crop_scale=(1, 1), crop_aspect=(1, 1), flip_prob=1.0)
    first = augment_image(PICTURE, [], 32, plain, np.random.default_rng(0))[0]
    second = augment_image(PICTURE, [], 32, flipped, np.random.default_rng(0))[0]
    assert (first[:, ::-1] == second).all()


@pytest.mark.parametrize("factor", [0.3, 0.9, 1.0, 1.6])
def test_adjustments_equal_pil(factor: float) -> None:
    image = Image.fromarray(PICTURE)
    pairs = [
        (adjust_brightness, ImageEnhance.Brightness),
        (adjust_contrast, ImageEnhance.Contrast),
        (adjust_colour, ImageEnhance.Color),
        (adjust_sharpness, ImageEnhance.Sharpness),
    ]
    for ours, theirs in pairs:
        expected = np.asarray(theirs(image).enhance(factor)).astype(int)
        inner = np.s_[2:-2, 2:-2]  # PIL leaves the border unsharpened
        difference = np.abs(ours(PICTURE, factor).astype(int) - expected)[inner]
        assert difference.max() <= 2, ours.__name__


def test_tone_operations_equal_pil() -> None:
    image = Image.fromarray(PICTURE)
    assert (posterize(PICTURE, 1.0) == np.asarray(ImageOps.posterize(image, 4))).all()
    assert (solarize(PICTURE, 0.5) == np.asarray(ImageOps.solarize(image, 128))).all()
    stretched = np.asarray(ImageOps.autocontrast(image)).astype(int)
    assert np.abs(autocontrast(PICTURE, 0).astype(int) - stretched).max() <= 1


@settings(max_examples=60)
@given(st.integers(0, len(OPERATIONS) - 1), st.floats(-1, 1))
def test_operations_keep_shape_and_type(which: int, strength: float) -> None:
    before = PICTURE.copy()
    result = OPERATIONS[which](before, strength)
    assert result.shape == PICTURE.shape
    assert result.dtype == np.uint8
    assert (before == PICTURE).all()


def test_randaugment_repeats_with_the_generator() -> None:
    one = randaugment(PICTURE, 3, 9, np.random.default_rng(5))
    two = randaugment(PICTURE, 3, 9, np.random.default_rng(5))
    assert (one == two).all()
    assert (one != PICTURE).any()


def test_hue_turns_red_into_green() -> None:
    red = np.full((2, 2, 3), (255, 0, 0), dtype=np.uint8)
    assert shift_hue(red, 1 / 3)[0, 0].tolist() == pytest.approx([0, 255, 0], abs=6)
    assert shift_hue(red, 0.0)[0, 0].tolist() == [255, 0, 0]


def test_jitter_without_strength_changes_nothing() -> None:
    assert (jitter(PICTURE, (0, 0, 0, 0), np.random.default_rng(0)) == PICTURE).all()
    assert (jitter(PICTURE, (0.4, 0.4, 0.4, 0.1), np.random.default_rng(0)) != PICTURE).any()


def test_erasing_covers_a_rectangle() -> None:
    view = np.zeros((64, 64, 3), dtype=np.uint8)
    changed = (erase(view, np.random.default_rng(1)) != 0).any(axis=2)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    box = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
    assert 0.015 < box / 64**2 < 0.36
    assert not view.any()


def test_captions_and_templates() -> None:
    plain = CaptionAugment()
    assert pick_caption(["a", "b"], plain, np.random.default_rng(0)) == "a"
    always = CaptionAugment(templates=("a photo of {}.",), template_prob=1.0)
    assert augment_caption("a {} dog", always, RNG) == "a photo of a {} dog."
    half = CaptionAugment(templates=("x {}",), template_prob=0.5)
    told = [augment_caption("c", half, np.random.default_rng(n)) for n in range(400)]
    assert 160 < told.count("x c") < 240
