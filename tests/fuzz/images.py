"""Target `images`: damaged image files are decoded in one frame, or refused with a status."""

from __future__ import annotations

import io
import random
import struct
import zlib
from functools import cache

import numpy as np
from PIL import Image, ImageOps

from lesstext.errors import ImageError
from lesstext.image_formats import format_of
from lesstext.images import DecodedImage, decode
from tests.fuzz.case import Case, check
from tests.fuzz.mutations import damage

_MAX_PIXELS = 4_000_000
_MAX_MEAN_OFF = 20.0  # OpenCV and PIL differ by little, two orientations by some 85
_SIZES = [(40, 24), (24, 40), (1, 1), (300, 200)]
_JPEG, _PNG = b"\xff\xd8", b"\x89PNG"
_STATUSES = ("decode_error", "unsupported_format", "too_large")
_KINDS = [
    ("JPEG", "RGB"),
    ("JPEG", "L"),
    ("JPEG", "CMYK"),
    ("PNG", "RGB"),
    ("PNG", "RGBA"),
    ("PNG", "P"),
    ("PNG", "I;16"),
    ("PNG", "1"),
    ("WEBP", "RGB"),
    ("GIF", "P"),
    ("BMP", "RGB"),
    ("BMP", "L"),
    ("TIFF", "RGB"),
    ("TIFF", "L"),
]
_OTHERS = [
    b"%!PS-Adobe-3.0 EPSF-3.0\n",
    b"%PDF-1.7\n",
    b"\0\0\0\x1cftypavif",
    b"<svg>",
    b"<html>",
    b"\0\0\1\0\1\0",
    b"8BPS",
    b"",
    b"BM",
    b"II*\0",
    b"MM\0*",
    b"GIF89a",
    b"\xff\xd8\xff",
    b"RIFF\x10\0\0\0WEBPVP8 ",
    b"\x89PNG\r\n\x1a\n",
]


def fuzz_images(case: Case) -> str:
    """Decode one odd file whole and reduced, twice, and hold it against PIL."""
    is_sound = case.rng.random() < 0.3
    data = _sound_image(case.rng) if is_sound else any_image(case.rng)
    case.seal()
    try:
        whole = decode(data, max_pixels=_MAX_PIXELS)
    except ImageError as error:
        check(not is_sound, "refused", f"a sound picture with odd EXIF or XMP: {error}")
        check(error.status in _STATUSES, "status", error.status)
        str(error).encode()
        return error.status
    _check_frame(whole)
    _check_again(data, whole, case.rng.choice([1, 8, 24, 100]))
    upright = _by_pil(data)
    if upright is not None:
        size = (whole.width, whole.height)
        check(upright.size == size, "frame", f"measured {size}, by PIL {upright.size}")
        if is_sound:
            theirs = np.asarray(upright.convert("RGB"), dtype=int)
            off_by = np.abs(whole.pixels - theirs)
            check(off_by.mean() < _MAX_MEAN_OFF, "pixels", f"{off_by.mean():.1f} off PIL's pixels")
    return "decoded"


def any_image(rng: random.Random) -> bytes:
    """An image file: whole, with odd metadata, damaged, or of no format that is decoded."""
    how = rng.random()
    if how < 0.1:
        return rng.choice(_OTHERS) + rng.randbytes(rng.choice([0, 10, 600]))
    data = _whole(*rng.choice(_KINDS), rng.choice(_SIZES))
    if how < 0.35:
        return data
    if how < 0.6:
        data = _with_metadata(rng, data)
    return damage(rng, data) if rng.random() < 0.7 else data


def _sound_image(rng: random.Random) -> bytes:
    """A whole picture in colour whose EXIF or XMP, which nothing depends on, may be odd."""
    format = rng.choice(["JPEG", "JPEG", "PNG"])
    return _with_orientation(rng, _whole(format, "RGB", rng.choice(_SIZES)))


def _check_again(data: bytes, whole: DecodedImage, target_px: int) -> None:
    """The same again, and reduced no further than asked, in the same frame."""
    size = (whole.width, whole.height)
    check(whole.pixels.shape[1::-1] == size, "frame", f"{whole.pixels.shape} for {size}")
    again = decode(data, max_pixels=_MAX_PIXELS)
    check(np.array_equal(whole.pixels, again.pixels), "unstable", "decoded twice, differently")
    reduced = decode(data, max_pixels=_MAX_PIXELS, target_px=target_px)
    _check_frame(reduced)
    check((reduced.width, reduced.height) == size, "frame", f"reduced, another size than {size}")
    longer = max(reduced.pixels.shape[:2])
    check(longer >= min(target_px, max(size)), "frame", f"reduced to {longer} px")


@cache
def _whole(format: str, mode: str, size: tuple[int, int]) -> bytes:
    noise = np.random.default_rng(size[0]).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    if mode == "I;16":
        image = Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
    buffer = io.BytesIO()
    (image if mode == "I;16" else image.convert(mode)).save(buffer, format)
    return buffer.getvalue()


def _with_metadata(rng: random.Random, data: bytes) -> bytes:
    """EXIF, XMP, a colour profile, texts that unpack to much, or frames that are not there."""
    if rng.random() < 0.5:
        return _with_orientation(rng, data)
    if data.startswith(_JPEG):
        profile = b"ICC_PROFILE\0\1\1" + rng.randbytes(200)
        return _with_segment(data, b"\xff\xe2", rng.choice([profile, b"MPF\0" + _exif(rng)]))
    if data.startswith(_PNG):
        bomb = zlib.compress(bytes(rng.choice([100, 3_000_000])))
        frames = b"acTL" + struct.pack(">LL", 2**31 - 1, 0)
        return _with_chunk(
            rng, data, rng.choice([b"iCCPp\0\0" + bomb, b"zTXtk\0\0" + bomb, frames])
        )
    return data


def _with_orientation(rng: random.Random, data: bytes) -> bytes:
    """EXIF or XMP, sound or odd, in the place that JPEG and PNG have for it."""
    exif, xmp = _exif(rng), b'<x tiff:Orientation="%d"/>' % rng.randint(0, 9)
    if data.startswith(_JPEG):
        made = [b"Exif\0\0" + exif, b"http://ns.adobe.com/xap/1.0/\0" + xmp]
        return _with_segment(data, b"\xff\xe1", rng.choice(made))
    if data.startswith(_PNG):
        made = [b"eXIf" + exif, b"iTXtXML:com.adobe.xmp\0\0\0\0\0" + xmp]
        return _with_chunk(rng, data, rng.choice(made))
    return data


def _with_segment(data: bytes, marker: bytes, body: bytes) -> bytes:
    return data[:2] + marker + struct.pack(">H", len(body) + 2) + body + data[2:]


def _with_chunk(rng: random.Random, data: bytes, chunk: bytes) -> bytes:
    framed = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    at = rng.choice([33, len(data) - 12])
    return data[:at] + framed + data[at:]


def _exif(rng: random.Random) -> bytes:
    """A header and an IFD of a few tags, the orientation among them, with odd types and counts."""
    order = rng.choice("<>")
    tags = [
        (0x0112, rng.choice([1, 3, 4, 5, 7, 99]), rng.choice([0, 1, 2, 2**31]), rng.randint(0, 9))
    ]
    tags += [
        (rng.randrange(1 << 16), rng.randrange(14), rng.randrange(1 << 20), rng.randrange(1 << 32))
        for _ in range(rng.randint(0, 4))
    ]
    body = b"".join(
        struct.pack(f"{order}HHL", tag, kind, count)
        + (
            struct.pack(f"{order}HH", value, 0)
            if kind == 3 and value < 10
            else struct.pack(f"{order}L", value)
        )
        for tag, kind, count, value in tags
    )
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(
        f"{order}L", rng.choice([8, 8, 8, 0, 9999])
    )
    return (
        head
        + struct.pack(f"{order}H", rng.choice([len(tags), len(tags), 65_535]))
        + body
        + bytes(8)
    )


def _check_frame(image: DecodedImage) -> None:
    height, width, channels = image.pixels.shape
    check(channels == 3 and image.pixels.dtype == np.uint8, "pixels", f"{image.pixels.shape}")
    check(image.width * image.height <= _MAX_PIXELS, "too_large", f"{image.width} x {image.height}")
    for scale in (1, 2, 4, 8):
        if (width, height) == (-(-image.width // scale), -(-image.height // scale)):
            return
    check(False, "frame", f"{width} x {height} pixels of {image.width} x {image.height}")


def _by_pil(data: bytes) -> Image.Image | None:
    """What `exif_transpose` comes to; None where it raises, which decoding need not."""
    try:
        with Image.open(io.BytesIO(data), formats=(format_of(data),)) as image:
            return ImageOps.exif_transpose(image)
    except Exception:  # PIL raises all kinds on odd metadata
        return None
