"""Encoded bytes to RGB pixels, safely, and the fixed shapes that a detector sees.

Everything that looks at pixels decodes here, so that regions, sizes and pixels agree: RGB, after
the orientation that `PIL.ImageOps.exif_transpose` finds, alpha dropped (as PIL's `convert("RGB")`,
which CLIP trainers use, drops it), first frame of an animation. Which bytes are decoded at all,
`lesstext.image_formats` decides.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from lesstext.errors import ImageError
from lesstext.image_formats import check_cost, format_of, refuse_too_large

Pixels = NDArray[np.uint8]

DEFAULT_MAX_PIXELS = 100_000_000
_JPEG_END = b"\xff\xd9"
_EXIF_ORIENTATION = 0x0112
_FIRST_SIDEWAYS = 5
_TIFF_TILE = (TiffImagePlugin.TILEWIDTH, TiffImagePlugin.TILELENGTH)
_REDUCED_FLAGS = {
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}

# PIL's own limit warns at one size and raises at twice that; ours is checked first, exactly.
Image.MAX_IMAGE_PIXELS = None
# What PIL thinks odd about a picture's metadata is no news to who reads millions of pictures.
warnings.filterwarnings("ignore", module=r"PIL\.")


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

    Raises ImageError with status `unsupported_format`, `too_large` (both before any pixel is
    decoded) or `decode_error`.
    """
    with open_image(data, max_pixels=max_pixels) as image:
        pixels = _decode_whole_jpeg(data, image, target_px)
        full = image.size
        if pixels is None:
            image.load()
            refuse_too_large(image.size, max_pixels)
            full, pixels = image.size, np.array(_to_rgb(image))
        orientation = _orientation(image)
        width, height = reversed(full) if orientation >= _FIRST_SIDEWAYS else full
        return DecodedImage(pixels=_upright(pixels, orientation), width=width, height=height)


@contextmanager
def open_image(data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Iterator[Image.Image]:
    """PIL's image, opened and not yet loaded, of bytes that may be decoded at all.

    For who needs PIL's own decoding of the stored frame; everyone else calls `decode`. Raises
    ImageError as `decode` does, also for whatever PIL raises while the block runs.
    """
    name = format_of(data)
    try:
        check_cost(data, name, max_pixels)
        with Image.open(io.BytesIO(data), formats=(name,)) as image:
            refuse_too_large(image.size, max_pixels)
            if isinstance(image, TiffImagePlugin.TiffImageFile):
                _refuse_large_tiles(image, max_pixels)
            yield image
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError("decode_error", f"not an image: starts with {data[:16]!r}") from error
    except Exception as error:  # PIL's parsers raise all kinds on hostile bytes; one sample's end
        raise ImageError("decode_error", f"cannot decode: {error!r}") from error


def _refuse_large_tiles(image: TiffImagePlugin.TiffImageFile, max_pixels: int) -> None:
    """PIL makes room for a whole tile, however small the picture is."""
    width, height = (image.tag_v2.get(tag) for tag in _TIFF_TILE)
    if isinstance(width, int) and isinstance(height, int):
        refuse_too_large((width, height), max_pixels)


def _decode_whole_jpeg(data: bytes, image: Image.Image, target_px: int | None) -> Pixels | None:
    """Decode the stored frame with OpenCV, which is faster and can reduce; None where PIL must.

    OpenCV fills what a truncated file lacks with grey; PIL, and so a trainer, refuses the file.
    """
    if image.format != "JPEG" or image.mode not in ("RGB", "L"):
        return None
    if not data.rstrip(b"\0").endswith(_JPEG_END):
        return None
    reduction = _jpeg_reduction(max(image.size), target_px)
    flag = _REDUCED_FLAGS.get(reduction, cv2.IMREAD_COLOR) | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flag)
    stored = (-(-image.height // reduction), -(-image.width // reduction))
    if pixels is None or pixels.shape[:2] != stored:
        return None
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB, dst=pixels), dtype=np.uint8)


def _orientation(image: Image.Image) -> int:
    """1 to 8 as `ImageOps.exif_transpose` finds it, in EXIF or else XMP; 1 for damaged EXIF."""
    try:
        found = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # PIL's EXIF parser raises all kinds; the picture itself is whole
        return 1
    return next((number for number in range(2, 9) if number == found), 1)


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Turn (h, w, 3) pixels of the stored frame as their EXIF orientation asks."""
    if orientation >= _FIRST_SIDEWAYS:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


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
