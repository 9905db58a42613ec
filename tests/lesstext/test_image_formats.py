"""The closed list: what is no JPEG, PNG, WebP, GIF, BMP or TIFF by content meets no decoder."""

from __future__ import annotations

import io
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from lesstext.errors import ImageError
from lesstext.image_formats import max_file_bytes
from lesstext.images import decode, open_image
from tests.lesstext.builders import encoded, picture

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

EPS = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n%%EndComments\n"
    b"{ } loop\n%%EOF\n"
)  # fmt: skip
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
XML = b'<?xml version="1.0"?>\n'


def by_pil(format: str) -> bytes:
    return encoded(picture(64, 64).convert("P" if format == "FLI" else "RGB"), format)


UNSUPPORTED = {
    "EPS": EPS,
    "EPS in a DOS wrapper": b"\xc5\xd0\xd3\xc6" + struct.pack("<7L", 32, len(EPS), 0, 0, 0, 0, 0)
    + EPS,
    "PDF": by_pil("PDF"),
    "AVIF": b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf",
    "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "MP4": b"\0\0\0\x18ftypisom\0\0\2\0isomiso2",
    "SVG": SVG,
    "SVG behind a prologue": XML + b"<!-- made by hand -->\n" + SVG,
    "SVGZ": b"\x1f\x8b\x08\0\0\0\0\0",
    "JPEG 2000": by_pil("JPEG2000"),
    "JPEG XL": b"\xff\x0a\xfa\x7f",
    "PSD": b"8BPS\0\1" + bytes(20),
    "ICO": by_pil("ICO"),
    "ICNS": by_pil("ICNS"),
    "PPM": by_pil("PPM"),
    "PCX": by_pil("PCX"),
    "TGA": by_pil("TGA"),
    "DDS": by_pil("DDS"),
    "SGI": by_pil("SGI"),
    "XBM": encoded(picture(8, 8).convert("1"), "XBM"),
    "FITS": b"SIMPLE  =                    T",
}  # fmt: skip


@pytest.mark.parametrize("data", UNSUPPORTED.values(), ids=UNSUPPORTED.keys())
def test_other_formats_are_named_and_not_decoded(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a decoder was asked")

    monkeypatch.setattr(Image, "open", never)
    with pytest.raises(ImageError, match="decoded are JPEG, PNG, WEBP") as caught:
        decode(data)
    assert caught.value.status == "unsupported_format"


def test_postscript_never_reaches_ghostscript(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("Ghostscript was asked")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", never)
    for data in (EPS, b"\xff\xd8\xff" + EPS, b"GIF89a" + EPS, b"BM" + EPS, b"II*\0" + EPS):
        with pytest.raises(ImageError):
            decode(data)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_the_content_tells_the_format(format: str) -> None:
    with open_image(encoded(picture(), format)) as image:
        assert image.format == format


@pytest.mark.parametrize("data", [b"<html>404</html>", XML + b"<Error/>", bytes(600), b"\xff\xd8"])
def test_what_is_no_image_at_all_is_a_decode_error(data: bytes) -> None:
    with pytest.raises(ImageError, match="not an image") as caught:
        decode(data)
    assert caught.value.status == "decode_error"


def tiff_of_one_tile(width: int, height: int) -> bytes:
    """A picture of 10 x 10 pixels whose only tile claims another size."""
    tags = [
        (256, 4, 10), (257, 4, 10), (258, 3, 8), (259, 3, 5), (262, 3, 1), (277, 3, 1),
        (322, 4, width), (323, 4, height), (324, 4, 8), (325, 4, 100),
    ]  # fmt: skip
    body = b"".join(struct.pack("<HHLL", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<LH", 8, len(tags)) + body + bytes(200)


def test_a_tile_larger_than_any_picture_is_refused() -> None:
    with pytest.raises(ImageError, match="1048576 x 65536 pixels exceed") as caught:
        decode(tiff_of_one_tile(1 << 20, 1 << 16))
    assert caught.value.status == "too_large"


def test_a_picture_within_a_larger_tile_is_read() -> None:
    tifffile = pytest.importorskip("tifffile")
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.full((10, 10, 3), 200, np.uint8), tile=(64, 64), photometric="rgb")
    assert decode(buffer.getvalue()).pixels.mean() == 200


def test_a_progressive_jpeg_of_endless_scans_is_refused() -> None:
    whole = encoded(picture(4000, 4000), "JPEG", progressive=True)
    last = whole.rindex(b"\xff\xda")
    bomb = whole[:-2] + whole[last:-2] * 20_000 + whole[-2:]
    start = time.monotonic()
    with pytest.raises(ImageError, match="more than 500 JPEG scans"):
        decode(bomb)
    assert time.monotonic() - start < 5.0


def test_scans_behind_a_whole_sequential_picture_cost_nothing() -> None:
    whole = encoded(picture(2000, 2000), "JPEG")
    last = whole.rindex(b"\xff\xda")
    start = time.monotonic()
    try:
        decode(whole[:-2] + whole[last:-2] * 2_000 + whole[-2:])
    except ImageError as error:
        assert error.status == "decode_error"
    assert time.monotonic() - start < 5.0


def test_scans_are_counted_only_where_they_are_scans() -> None:
    whole = encoded(picture(), "JPEG", comment=b"\xff\xda" * 600)
    assert decode(whole + b"\xff\xda" * 600).pixels.shape == (48, 64, 3)


def test_a_file_larger_than_any_picture_is_refused_unread() -> None:
    limit = max_file_bytes(100)
    with pytest.raises(ImageError, match=f"file of {limit + 1} bytes exceeds") as caught:
        decode(b"\xff\xd8\xff".ljust(limit + 1, b"\0"), max_pixels=100)
    assert caught.value.status == "too_large"


def test_pil_decodes_nowhere_else() -> None:
    root = Path(__file__).parent.parent.parent
    users = [
        str(path.relative_to(root))
        for package in ("lesstext", "attr_builder", "train_clip")
        for path in (root / package).rglob("*.py")
        if "Image.open(" in path.read_text(encoding="utf-8")
    ]
    assert users == ["lesstext/images.py"]


def jpeg_of_segments(n_segments: int) -> bytes:
    whole = encoded(picture(), "JPEG")
    return whole[:2] + b"\xff\xe5\0\2" * n_segments + whole[2:]


def png_of_chunks(n_chunks: int) -> bytes:
    whole = encoded(picture())
    empty = b"\0\0\0\0prVt" + struct.pack(">I", zlib.crc32(b"prVt"))
    return whole[:33] + empty * n_chunks + whole[33:]


@pytest.mark.parametrize("write", [jpeg_of_segments, png_of_chunks])
def test_metadata_in_millions_of_pieces_is_refused(write: Callable[[int], bytes]) -> None:
    assert decode(write(2_000)).pixels.shape == (48, 64, 3)
    start = time.monotonic()
    with pytest.raises(ImageError, match="more than 10000 pieces of metadata"):
        decode(write(4_000_000))
    assert time.monotonic() - start < 1.0


def test_pixels_in_many_chunks_are_no_metadata() -> None:
    whole = encoded(Image.effect_noise((400, 400), 100).convert("RGB"))
    at = whole.index(b"IDAT") - 4
    (size,) = struct.unpack_from(">I", whole, at)
    body = whole[at + 8 : at + 8 + size]
    pieces = [body[i : i + 5] for i in range(0, size, 5)]
    chunks = [
        struct.pack(">I", len(p)) + b"IDAT" + p + struct.pack(">I", zlib.crc32(b"IDAT" + p))
        for p in pieces
    ]
    assert len(chunks) > 10_000
    many = whole[:at] + b"".join(chunks) + whole[at + 12 + size :]
    assert np.array_equal(decode(many).pixels, decode(whole).pixels)
