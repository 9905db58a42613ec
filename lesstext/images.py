"""Encoded bytes to RGB pixels, safely, and the fixed shapes that a detector sees.

Everything that looks at pixels decodes here, so that regions, sizes and pixels agree: RGB, after
EXIF orientation, alpha dropped (as PIL's `convert("RGB")`, which CLIP trainers use, drops it),
first frame of an animation.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from lesstext.errors import ImageError

Pixels = NDArray[np.uint8]

DEFAULT_MAX_PIXELS = 100_000_000
_JPEG_END = b"\xff\xd9"
_EXIF_ORIENTATION = 0x0112
_REDUCED_FLAGS = {
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}

# PIL's own limit warns at one size and raises at twice that; ours is checked first, exactly.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedImage:
    """Pixels (h, w, 3) uint8 RGB and the full size of the image in pixels.

    The pixels may be a whole-number reduction of the full size (see `decode`).
    """

    pixels: Pixels
    width: int
    height: int


def decode(
    data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS, target_px: int | None = None
) -> DecodedImage:
    """Decode one image file; `width` and `height` are those after EXIF orientation.

    `target_px` is the longer side that the caller needs: a JPEG is then decoded at 1/2, 1/4 or
    1/8 scale as long as its longer side stays at least that large.

    Raises ImageError with status `too_large` (before any pixel is decoded) or `decode_error`.
    """
    if not data:
        raise ImageError("decode_error", "image file is empty (0 bytes)")
    try:
        with Image.open(io.BytesIO(data)) as image:
            _refuse_too_large(image, max_pixels)
            pixels = _decode_whole_jpeg(data, image, target_px)
            if pixels is None:
                pixels = np.array(_to_rgb(ImageOps.exif_transpose(image)))
                return DecodedImage(pixels=pixels, width=pixels.shape[1], height=pixels.shape[0])
            sideways = image.getexif().get(_EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
            width, height = reversed(image.size) if sideways else image.size
            return DecodedImage(pixels=pixels, width=width, height=height)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError("decode_error", f"not an image: starts with {data[:16]!r}") from error
    except Exception as error:  # PIL's parsers raise all kinds on hostile bytes; one sample's end
        raise ImageError("decode_error", f"cannot decode: {error!r}") from error


def _refuse_too_large(image: Image.Image, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        size = f"{image.width} x {image.height}"
        raise ImageError("too_large", f"{size} pixels exceed the limit of {max_pixels} pixels")


def _decode_whole_jpeg(data: bytes, image: Image.Image, target_px: int | None) -> Pixels | None:
    """Decode with OpenCV, which is faster and can reduce; None where PIL must do it.

    OpenCV fills what a truncated file lacks with grey; PIL, and so a trainer, refuses the file.
    """
    if image.format != "JPEG" or image.mode not in ("RGB", "L"):
        return None
    if not data.rstrip(b"\0").endswith(_JPEG_END):
        return None
    reduction = _jpeg_reduction(max(image.size), target_px)
    flag = _REDUCED_FLAGS.get(reduction, cv2.IMREAD_COLOR)
    pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flag)
    if pixels is None:
        return None
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels), dtype=np.uint8)


def _jpeg_reduction(longer_px: int, target_px: int | None) -> int:
    if target_px is None:
        return 1
    return next((scale for scale in (8, 4, 2) if longer_px // scale >= target_px), 1)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to 8-bit RGB; 16-bit grey keeps its contrast (PIL alone would clip it)."""
    if image.mode in ("I;16", "I;16B", "I;16L", "I"):
        wide = np.asarray(image, dtype=np.int64)
        return Image.fromarray(np.clip(wide >> 8, 0, 255).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")


@dataclass(frozen=True, slots=True, kw_only=True)
class InputShape:
    """How an image of one size enters a detector: resized to `height_px` x `width_px`, then
    padded at the bottom and right to `padded_height_px` x `padded_width_px`."""

    height_px: int
    width_px: int
    padded_height_px: int
    padded_width_px: int


def input_shape(width: int, height: int, *, longer_px: int, multiple_px: int = 32) -> InputShape:
    """Scale the longer side to `longer_px` (up or down) and pad the shorter to a multiple.

    The shape depends on the image's own size alone, so that results do not depend on batches.

    >>> input_shape(1280, 720, longer_px=384)
    InputShape(height_px=216, width_px=384, padded_height_px=224, padded_width_px=384)
    """
    scale = longer_px / max(width, height)
    resized_w = max(1, min(longer_px, round(width * scale)))
    resized_h = max(1, min(longer_px, round(height * scale)))
    return InputShape(
        height_px=resized_h,
        width_px=resized_w,
        padded_height_px=-(-resized_h // multiple_px) * multiple_px,
        padded_width_px=-(-resized_w // multiple_px) * multiple_px,
    )


def letterbox(
    pixels: Pixels, shape: InputShape, canvas: Pixels, *, fill: tuple[int, int, int]
) -> None:
    """Draw (h, w, 3) pixels, resized, at the top left of a padded canvas, and fill the rest."""
    canvas[: shape.height_px, : shape.width_px] = resize(pixels, shape.width_px, shape.height_px)
    canvas[shape.height_px :] = fill
    canvas[: shape.height_px, shape.width_px :] = fill


def resize(pixels: Pixels, width_px: int, height_px: int) -> Pixels:
    """Resize with area averaging when shrinking and linear interpolation when enlarging."""
    if pixels.shape[:2] == (height_px, width_px):
        return pixels
    shrinks = pixels.shape[0] >= height_px and pixels.shape[1] >= width_px
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized: Pixels = cv2.resize(pixels, (width_px, height_px), interpolation=interpolation)  # type: ignore[assignment]
    return resized
