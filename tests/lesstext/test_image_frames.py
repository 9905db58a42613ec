"""One frame for pixels, sizes and regions: that of `PIL.ImageOps.exif_transpose`, in all formats
and wherever the orientation stands."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PIL import Image, ImageOps

from lesstext.images import decode

# PIL warns of odd metadata; what it makes of it is what is tested.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

SHORT, LONG, BYTE, RATIONAL, ASCII = 3, 4, 1, 5, 2


def photo(width: int = 96, height: int = 64) -> Image.Image:
    """Four quarters of different colours, so that each of the eight orientations shows."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[: height // 2, : width // 2] = (255, 0, 0)
    pixels[: height // 2, width // 2 :] = (0, 255, 0)
    pixels[height // 2 :, : width // 2] = (0, 0, 255)
    return Image.fromarray(pixels)


def saved(format: str) -> bytes:
    buffer = io.BytesIO()
    photo().save(buffer, format, **({"lossless": True} if format == "WEBP" else {}))
    return buffer.getvalue()


def exif_block(orientation: int, kind: int = SHORT, order: str = "<", count: int = 1) -> bytes:
    """A TIFF header and an IFD with nothing but the orientation, in any type and byte order."""
    letter = {SHORT: "H", LONG: "L", BYTE: "B", RATIONAL: "L", ASCII: "B"}[kind]
    value = struct.pack(order + letter, orientation).ljust(4, b"\0")
    if kind == RATIONAL:
        value = struct.pack(order + "L", 26)
    entry = struct.pack(order + "HHL", 0x0112, kind, count) + value
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "L", 8)
    tail = struct.pack(order + "LL", orientation, 1)
    return head + struct.pack(order + "H", 1) + entry + struct.pack(order + "L", 0) + tail


def xmp_packet(orientation: object, element: bool) -> bytes:
    inner = f"<tiff:Orientation>{orientation}</tiff:Orientation>" if element else ""
    attribute = "" if element else f' tiff:Orientation="{orientation}"'
    return f"<x:xmpmeta><rdf:Description{attribute}>{inner}</rdf:Description></x:xmpmeta>".encode()


def jpeg_with(*segments: bytes) -> bytes:
    """A JPEG with these APP1 segments right behind its start."""
    data = saved("JPEG")
    heads = [b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body for body in segments]
    return data[:2] + b"".join(heads) + data[2:]


def jpeg_exif(block: bytes) -> bytes:
    return jpeg_with(b"Exif\0\0" + block)


def jpeg_xmp(packet: bytes) -> bytes:
    return jpeg_with(b"http://ns.adobe.com/xap/1.0/\0" + packet)


def png_with(kind: bytes, body: bytes, *, at_end: bool = False) -> bytes:
    """A PNG with one more chunk, behind the header or behind the pixels."""
    data = saved("PNG")
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    at = len(data) - 12 if at_end else 33
    return data[:at] + chunk + data[at:]


def png_xmp(packet: bytes) -> bytes:
    return png_with(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet)


def webp_with(kind: str, body: bytes) -> bytes:
    buffer = io.BytesIO()
    photo().save(buffer, "WEBP", lossless=True, **{kind: body})
    return buffer.getvalue()


def tiff_with(orientation: int, compression: str | None = None) -> bytes:
    buffer = io.BytesIO()
    photo().save(buffer, "TIFF", tiffinfo={0x0112: orientation}, compression=compression)
    return buffer.getvalue()


PLACES: dict[str, Callable[[int], bytes]] = {
    "jpeg SHORT le": lambda o: jpeg_exif(exif_block(o)),
    "jpeg SHORT be": lambda o: jpeg_exif(exif_block(o, order=">")),
    "jpeg LONG le": lambda o: jpeg_exif(exif_block(o, LONG)),
    "jpeg LONG be": lambda o: jpeg_exif(exif_block(o, LONG, ">")),
    "jpeg BYTE be": lambda o: jpeg_exif(exif_block(o, BYTE, ">")),
    "jpeg RATIONAL be": lambda o: jpeg_exif(exif_block(o, RATIONAL, ">")),
    "jpeg XMP attribute": lambda o: jpeg_xmp(xmp_packet(o, element=False)),
    "jpeg XMP element": lambda o: jpeg_xmp(xmp_packet(o, element=True)),
    "png eXIf": lambda o: png_with(b"eXIf", exif_block(o)),
    "png eXIf behind the pixels": lambda o: png_with(b"eXIf", exif_block(o), at_end=True),
    "png XMP": lambda o: png_xmp(xmp_packet(o, element=True)),
    "webp EXIF": lambda o: webp_with("exif", exif_block(o, order=">")),
    "webp XMP": lambda o: webp_with("xmp", xmp_packet(o, element=False)),
    "tiff": tiff_with,
    "tiff through libtiff": lambda o: tiff_with(o, "tiff_lzw"),
}
ODD: dict[str, bytes] = {
    "zero": jpeg_exif(exif_block(0)),
    "nine": jpeg_exif(exif_block(9)),
    "six in two SHORTs": jpeg_exif(exif_block(6, SHORT, "<", 2)),
    "none of them": jpeg_exif(exif_block(6, SHORT, "<", 0)),
    "text": jpeg_exif(exif_block(ord("6"), ASCII)),
    "EXIF before XMP": jpeg_with(
        b"Exif\0\0" + exif_block(3),
        b"http://ns.adobe.com/xap/1.0/\0" + xmp_packet(6, element=False),
    ),
    "EXIF twice": jpeg_with(b"Exif\0\0" + exif_block(3), b"Exif\0\0" + exif_block(6)),
    "EXIF with 65,535 tags": jpeg_exif(exif_block(6)[:8] + b"\xff\xff" + exif_block(6)[10:]),
    "XMP of nine": jpeg_xmp(xmp_packet(9, element=False)),
    "XMP of a word": jpeg_xmp(xmp_packet("six", element=True)),
    "XMP of sixty": jpeg_xmp(xmp_packet(60, element=True)),
}
BROKEN: dict[str, bytes] = {
    "empty EXIF": jpeg_exif(b""),
    "cut EXIF": jpeg_exif(exif_block(6)[:12]),
    "EXIF of no byte order": jpeg_exif(b"XX" + exif_block(6)[2:]),
    "EXIF that points beyond": jpeg_exif(b"II*\0\xff\xff\xff\x7f"),
    "EXIF that points at itself": jpeg_exif(b"II*\0\0\0\0\0"),
}


def by_pil(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def cases() -> Iterator[object]:
    for place, write in PLACES.items():
        for orientation in range(1, 9):
            yield pytest.param(write(orientation), id=f"{place} {orientation}")
    for name, data in ODD.items():
        yield pytest.param(data, id=name)


@pytest.mark.parametrize("data", list(cases()))
@pytest.mark.parametrize("target_px", [None, 24])
def test_the_decoded_and_the_measured_frame_are_that_of_exif_transpose(
    data: bytes, target_px: int | None
) -> None:
    image, expected = decode(data, target_px=target_px), by_pil(data)
    assert (image.width, image.height) == expected.size
    height, width = image.pixels.shape[:2]
    assert expected.width * height == expected.height * width  # a whole-number reduction at most
    shrunk = np.asarray(expected.resize((width, height), Image.Resampling.BOX), dtype=int)
    off_by = np.abs(image.pixels.astype(int) - shrunk)
    assert np.median(off_by) <= 3 and np.percentile(off_by, 90) <= 40
    # Each quarter has the colour that it has in PIL's frame.
    for row, column in ((0.2, 0.2), (0.2, 0.8), (0.8, 0.2), (0.8, 0.8)):
        at = (int(row * height), int(column * width))
        assert off_by[at].max() < 20


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
@pytest.mark.parametrize("target_px", [None, 24])
def test_damaged_exif_leaves_the_picture_as_it_is_stored(
    data: bytes, target_px: int | None
) -> None:
    image = decode(data, target_px=target_px)
    assert (image.width, image.height) == (96, 64)
    assert tuple(image.pixels[2, 2] > 128) == (True, False, False)


def test_the_table_is_as_large_as_it_should_be() -> None:
    assert len(list(cases())) + len(BROKEN) >= 53
