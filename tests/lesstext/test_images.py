"""Decoding: every kind of file that web data holds, and the shapes that a detector sees."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from lesstext.errors import ImageError
from lesstext.images import decode, input_shape, letterbox
from tests.lesstext.builders import encoded, picture


def gradient(width: int = 60, height: int = 40) -> Image.Image:
    across = np.linspace(0, 255, width, dtype=np.uint8)
    return Image.fromarray(np.stack([np.tile(across, (height, 1))] * 3, axis=2))


@pytest.mark.parametrize(
    ("mode", "format"),
    [
        ("L", "JPEG"), ("CMYK", "JPEG"), ("RGB", "JPEG"), ("RGB", "WEBP"), ("P", "PNG"),
        ("RGBA", "PNG"), ("LA", "PNG"), ("1", "PNG"), ("P", "GIF"), ("RGB", "BMP"),
        ("RGB", "TIFF"),
    ],
)  # fmt: skip
def test_every_mode_becomes_rgb(mode: str, format: str) -> None:
    image = decode(encoded(gradient().convert(mode), format))
    assert image.pixels.shape == (40, 60, 3)
    assert (image.width, image.height) == (60, 40)
    brightness = image.pixels.mean(axis=(0, 2))
    assert brightness[-10:].mean() - brightness[:10].mean() > 150


def test_16_bit_grey_keeps_its_contrast() -> None:
    wide = Image.fromarray(np.asarray(gradient().convert("L")).astype(np.uint16) * 257)
    pixels = decode(encoded(wide, "PNG")).pixels
    assert np.abs(pixels[..., 0].astype(int) - np.asarray(gradient().convert("L"))).max() <= 1


def test_the_first_frame_of_an_animation_is_used() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert tuple(decode(data).pixels[0, 0]) == (255, 0, 0)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_exif_orientation_is_applied_to_pixels_and_size(orientation: int, format: str) -> None:
    upright = Image.new("RGB", (64, 32), "black")
    upright.paste((255, 255, 255), (0, 0, 16, 16))
    inverse = {
        1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
    }[orientation]  # fmt: skip
    stored = upright if inverse is None else upright.transpose(inverse)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = decode(encoded(stored, format, exif=exif))
    assert (image.width, image.height) == (64, 32)
    assert image.pixels.shape == (32, 64, 3)
    assert image.pixels[:12, :12].mean() > 240
    assert image.pixels[20:, 20:].mean() < 15


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 5000), (5000, 1)])
def test_extreme_shapes(width: int, height: int) -> None:
    image = decode(encoded(Image.new("RGB", (width, height))))
    assert image.pixels.shape == (height, width, 3)
    shape = input_shape(width, height, longer_px=384)
    canvas = np.full((shape.padded_height_px, shape.padded_width_px, 3), 7, dtype=np.uint8)
    letterbox(image.pixels, shape, canvas, fill=(9, 9, 9))
    assert max(canvas.shape) == 384 and set(np.unique(canvas)) <= {0, 9}


def png_that_claims(width: int, height: int) -> bytes:
    """A few bytes of PNG whose header promises a picture of this size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_a_decompression_bomb_is_refused_by_its_header() -> None:
    with pytest.raises(ImageError, match="60000 x 60000 pixels exceed the limit") as caught:
        decode(png_that_claims(60_000, 60_000))
    assert caught.value.status == "too_large"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"<html><body>404</body></html>", "not an image"),
        (encoded(gradient(), "JPEG")[:-20], "cannot decode"),
        (encoded(gradient(), "PNG")[:-60], "cannot decode"),
        (encoded(gradient(), "JPEG")[:100], "cannot decode"),
    ],
    ids=["empty", "html", "cut jpeg", "cut png", "cut header"],
)
def test_what_is_no_whole_image_is_a_decode_error(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason) as caught:
        decode(data)
    assert caught.value.status == "decode_error"


def test_bytes_behind_a_whole_jpeg_do_no_harm() -> None:
    data = encoded(gradient(), "JPEG")
    assert np.array_equal(decode(data + b"\0\0").pixels, decode(data).pixels)
    assert decode(data + b"trailing").pixels.shape == (40, 60, 3)


@pytest.mark.parametrize(
    ("target_px", "expected"), [(None, 1600), (1600, 1600), (801, 1600), (800, 800), (250, 400)]
)
def test_a_jpeg_is_decoded_no_smaller_than_needed(target_px: int | None, expected: int) -> None:
    image = decode(encoded(gradient(1600, 900), "JPEG"), target_px=target_px)
    assert image.pixels.shape[1] == expected
    assert (image.width, image.height) == (1600, 900)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1280, 720), (216, 384, 224, 384)),
        ((720, 1280), (384, 216, 384, 224)),
        ((100, 100), (384, 384, 384, 384)),
        ((1, 5000), (384, 1, 384, 32)),
    ],
)
def test_input_shapes(size: tuple[int, int], expected: tuple[int, ...]) -> None:
    shape = input_shape(*size, longer_px=384)
    assert (
        shape.height_px, shape.width_px, shape.padded_height_px, shape.padded_width_px
    ) == expected  # fmt: skip


def test_padding_is_filled_and_the_picture_lies_top_left() -> None:
    pixels = np.asarray(picture(30, 20, text_ratio=1.0))
    shape = input_shape(30, 20, longer_px=64)
    canvas = np.zeros((64, 64, 3), dtype=np.uint8)
    letterbox(pixels, shape, canvas, fill=(1, 2, 3))
    assert (canvas[: shape.height_px] == (255, 0, 255)).all()
    assert (canvas[shape.height_px :] == (1, 2, 3)).all() and shape.height_px == 43


def test_decoding_reads_a_stream_only_once_and_leaves_no_file_open() -> None:
    data = encoded(gradient(), "JPEG")
    assert Image.open(io.BytesIO(data)).size == (60, 40)
    assert decode(data).pixels.flags.writeable
