"""Image and caption augmentation in numpy and OpenCV: pure functions of a sample and a generator.

Pixels are uint8 RGB (h, w, 3) throughout; normalisation happens on the training device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from lesstext.fills import fill
from lesstext.images import Pixels
from train_clip.data.randaugment import adjust_colour, adjust_contrast, randaugment
from train_clip.settings import CaptionAugment, ImageAugment

Polygon = NDArray[np.float32]
Box = tuple[int, int, int, int]

_CROP_TRIES = 10
# Random erasing (Zhong et al. 2017): share of the area, and aspect.
_ERASE_AREA, _ERASE_ASPECT = (0.02, 1 / 3), (0.3, 3.3)


def augment_image(
    pixels: Pixels,
    polygons: Sequence[Polygon],
    size_px: int,
    settings: ImageAugment,
    rng: np.random.Generator,
) -> tuple[Pixels, bool]:
    """One training view of an image, (size_px, size_px, 3), and whether text was hidden in it.

    `polygons` are the text regions in the frame of `pixels`.
    """
    height, width = pixels.shape[:2]
    box = crop_box(width, height, settings, rng)
    view = crop_and_resize(pixels, box, size_px)
    hidden = False
    if settings.text_mask != "none" and polygons and rng.random() < settings.text_mask_prob:
        seen = [to_view(polygon, box, size_px) for polygon in polygons]
        # Resizing spreads a stroke by up to one pixel beyond its region.
        filled = fill(view, seen, settings.text_mask, dilation_px=1)
        hidden, view = not np.array_equal(view, filled), filled
    if settings.flip_prob and rng.random() < settings.flip_prob:
        view = np.ascontiguousarray(view[:, ::-1])
    if settings.randaugment[0]:
        view = randaugment(view, *settings.randaugment, rng)
    if any(settings.jitter) and rng.random() < settings.jitter_prob:
        view = jitter(view, settings.jitter, rng)
    if settings.erase_prob and rng.random() < settings.erase_prob:
        view = erase(view, rng)
    return view, hidden


def crop_box(width: int, height: int, settings: ImageAugment, rng: np.random.Generator) -> Box:
    """A random box (x, y, w, h) as torchvision's RandomResizedCrop chooses it.

    The aspect is log-uniform; after ten misses the largest central box of a legal aspect is taken.
    """
    smallest, largest = settings.crop_scale
    low, high = math.log(settings.crop_aspect[0]), math.log(settings.crop_aspect[1])
    for _ in range(_CROP_TRIES):
        area = width * height * (smallest + (largest - smallest) * rng.random())
        aspect = math.exp(low + (high - low) * rng.random())
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1)), w, h
    narrowest, widest = settings.crop_aspect
    w = min(width, max(1, round(height * widest)))
    h = min(height, max(1, round(width / narrowest)))
    return (width - w) // 2, (height - h) // 2, w, h


def crop_and_resize(pixels: Pixels, box: Box, size_px: int) -> Pixels:
    """Cut a box out and resize it to a square: area averaging down, cubic up."""
    x, y, w, h = box
    shrinks = w >= size_px and h >= size_px
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    view: Pixels = cv2.resize(  # type: ignore[assignment]
        pixels[y : y + h, x : x + w], (size_px, size_px), interpolation=interpolation
    )
    return view


def to_view(polygon: Polygon, box: Box, size_px: int) -> Polygon:
    """A polygon of the whole image in the frame of a cropped and resized view."""
    x, y, w, h = box
    scale = np.array([size_px / w, size_px / h], dtype=np.float32)
    return (polygon - np.array([x, y], dtype=np.float32)) * scale


def jitter(
    view: Pixels, strengths: tuple[float, float, float, float], rng: np.random.Generator
) -> Pixels:
    """Change brightness, contrast, saturation and hue by random factors, in random order."""
    brightness, contrast, saturation, hue = strengths
    factors = [rng.uniform(max(0, 1 - s), 1 + s) for s in (brightness, contrast, saturation)]
    shift = rng.uniform(-hue, hue)
    for which in rng.permutation(4):
        if which == 0 and brightness:
            view = cv2.convertScaleAbs(view, alpha=factors[0])  # type: ignore[assignment]
        elif which == 1 and contrast:
            view = adjust_contrast(view, factors[1])
        elif which == 2 and saturation:
            view = adjust_colour(view, factors[2])
        elif which == 3 and hue:
            view = shift_hue(view, shift)
    return view


def shift_hue(view: Pixels, shift: float) -> Pixels:
    """Turn the hue by `shift` of a full circle, in [-0.5, 0.5]."""
    hsv = cv2.cvtColor(view, cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(round(shift * 256) % 256)  # hue is a full circle of 256
    turned: Pixels = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)  # type: ignore[assignment]
    return turned


def erase(view: Pixels, rng: np.random.Generator) -> Pixels:
    """Replace one random rectangle by noise (random erasing)."""
    height, width = view.shape[:2]
    area = height * width * rng.uniform(*_ERASE_AREA)
    aspect = math.exp(rng.uniform(math.log(_ERASE_ASPECT[0]), math.log(_ERASE_ASPECT[1])))
    w = min(width, max(1, round(math.sqrt(area * aspect))))
    h = min(height, max(1, round(math.sqrt(area / aspect))))
    x, y = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
    view = view.copy()
    view[y : y + h, x : x + w] = rng.integers(0, 256, (h, w, 3), dtype=np.uint8)
    return view


def pick_caption(
    captions: Sequence[str], settings: CaptionAugment, rng: np.random.Generator
) -> str:
    """One of a sample's captions."""
    return captions[int(rng.integers(len(captions))) if settings.pick == "random" else 0]


def augment_caption(caption: str, settings: CaptionAugment, rng: np.random.Generator) -> str:
    """Perhaps put a caption into a template."""
    if settings.templates and rng.random() < settings.template_prob:
        template = settings.templates[int(rng.integers(len(settings.templates)))]
        return template.replace("{}", caption)
    return caption
