"""Which bytes are decoded at all: a closed list of formats, told by content, and what they cost.

A decoder that nobody meant to run is a way in (PIL hands PostScript to Ghostscript), so PIL is
only ever asked for the format that the first bytes name. What PIL itself bounds stays its own:
the sizes of text and colour profiles that a PNG unpacks, and of tags in an IFD.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Literal

from lesstext.errors import ImageError

ImageFormat = Literal["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]

# The first bytes of every format that is decoded, as a pattern.
_SUPPORTED: dict[ImageFormat, re.Pattern[bytes]] = {
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "WEBP": re.compile(rb"RIFF.{4}WEBPVP8[ LX]", re.DOTALL),
    "GIF": re.compile(rb"GIF8[79]a"),
    "BMP": re.compile(rb"BM"),
    "TIFF": re.compile(rb"II\*\0|MM\0\*|II\0\*|MM\*\0|II\+\0|MM\0\+"),
}
# Formats that people do meet under an image's name; the rest is no image as far as we can tell.
_UNSUPPORTED = {
    "PostScript": rb"%!PS|\xc5\xd0\xd3\xc6|\x04%!PS",
    "PDF": rb"\s*%PDF",
    "AVIF": rb".{4}ftypavi[fs]",
    "HEIF": rb".{4}ftyp(hei[cmsx]|hev[cmsx]|mif1|msf1)",
    "a video or another ISO media file": rb".{4}ftyp|\x1aE\xdf\xa3|RIFF.{4}AVI ",
    "JPEG 2000": rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51",
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n",
    "JPEG XR": rb"II\xbc",
    "SVG": rb"(\xef\xbb\xbf)?\s*<(svg|(\?xml|!--|!DOCTYPE)(?=.{0,2000}<svg))",
    "gzip (as SVGZ is)": rb"\x1f\x8b",
    "Photoshop": rb"8BPS",
    "an icon or TGA": rb"\0\0[\x01\x02]\0|icns",
    "PNM": rb"P[1-7fF]\s|PyP|Pf\n",
    "PCX": rb"\n[\0\x02\x03\x04\x05]\x01|\xb1h\xde\x3a",
    "DDS": rb"DDS ",
    "OpenEXR": rb"v/1\x01",
    "Radiance HDR": rb"#\?RADIANCE|#\?RGBE",
    "XBM or XPM": rb"\s*#define\s+\S+_width|\s*/\* XPM \*/",
    "FITS": rb"SIMPLE  =",
    "SGI": rb"\x01\xda[\0\x01][\x01\x02]",
    "Sun raster": rb"\x59\xa6\x6a\x95",
    "DPX": rb"SDPX|XPDS",
    "metafile": rb"\xd7\xcd\xc6\x9a\0\0|\x01\0\0\0.{36} EMF",
    "FLI": rb".{4}[\x11\x12]\xaf",
    "QOI": rb"qoif",
    "BLP": rb"BLP[12]",
    "DICOM": rb".{128}DICM",
    "WebP of an unknown kind": rb"RIFF.{4}WEBP",
    "TGA": rb".[\0\x01][\x01-\x03\x09-\x0b].{13}[\x08\x0f\x10\x18\x20][\0-\x3f]",
}
_OTHERS = {name: re.compile(magic, re.DOTALL) for name, magic in _UNSUPPORTED.items()}
_TGA_FOOTER = b"TRUEVISION-XFILE.\0"

_MAX_BYTES_PER_PIXEL = 8
_MAX_OVERHEAD_BYTES = 64 << 20
_MAX_JPEG_SCANS = 500
_MAX_PIECES = 10_000
_SCAN, _END = 0xDA, 0xD9
_SEQUENTIAL = (0xC0, 0xC1)
_FRAMES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))
_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7\x01])", re.DOTALL)


def format_of(data: bytes) -> ImageFormat:
    """The format that the first bytes name.

    Raises ImageError: `unsupported_format` for another image format, `decode_error` for no image.
    """
    if not data:
        raise ImageError("decode_error", "image file is empty (0 bytes)")
    for name, magic in _SUPPORTED.items():
        if magic.match(data):
            return name
    other = next((name for name, magic in _OTHERS.items() if magic.match(data)), None)
    if other is None and data.endswith(_TGA_FOOTER):
        other = "TGA"
    if other is not None:
        known = ", ".join(_SUPPORTED)
        raise ImageError("unsupported_format", f"the file is {other}; decoded are {known}")
    raise ImageError("decode_error", f"not an image: starts with {data[:16]!r}")


def refuse_too_large(size: tuple[int, int], max_pixels: int) -> None:
    """Raise ImageError (`too_large`) for a (width, height) of more than `max_pixels`."""
    width, height = size
    if width * height > max_pixels:
        pixels = f"{width} x {height}"
        raise ImageError("too_large", f"{pixels} pixels exceed the limit of {max_pixels} pixels")


def max_file_bytes(max_pixels: int) -> int:
    """The largest image file worth reading: any picture within the limit, stored raw in 4 x 16
    bits, with ample metadata."""
    return max_pixels * _MAX_BYTES_PER_PIXEL + _MAX_OVERHEAD_BYTES


def refuse_large_file(n_bytes: int, max_pixels: int) -> None:
    """Raise ImageError (`too_large`) for a file that is larger than any picture within the limit.

    To be asked before the file is read.
    """
    limit = max_file_bytes(max_pixels)
    if n_bytes > limit:
        raise ImageError("too_large", f"file of {n_bytes} bytes exceeds the limit of {limit} bytes")


def check_cost(data: bytes, name: ImageFormat, max_pixels: int) -> None:
    """Raise ImageError for a file whose decoding would cost far more than its pixels are worth."""
    refuse_large_file(len(data), max_pixels)
    if name == "JPEG":
        _check_jpeg(data)
    elif name == "PNG":
        _refuse_many(kind for kind in _png_chunks(data) if kind != b"IDAT")


def _check_jpeg(data: bytes) -> None:
    """Few segments before the pixels, and few scans of them: all are kept, or decoded in turn."""
    segments = _jpeg_segments(data)
    frame = 0
    for number, (marker, at) in enumerate(segments):
        if number == _MAX_PIECES:
            _refuse_many(range(number + 1))
        if marker == _SCAN:
            break
        frame = at if marker in _FRAMES else frame
    else:
        return
    # One scan holds all components of a sequential picture; whatever follows it is not decoded.
    is_whole = data[at + 2 : at + 3] == data[frame + 7 : frame + 8]
    if frame and is_whole and data[frame - 1] in _SEQUENTIAL:
        return
    n_scans = 1 + sum(marker == _SCAN for marker, _ in segments)
    if n_scans > _MAX_JPEG_SCANS:
        raise ImageError("decode_error", f"more than {_MAX_JPEG_SCANS} JPEG scans: {n_scans}")


def _refuse_many(pieces: Iterable[object]) -> None:
    """PIL keeps every segment and chunk of metadata, at some microseconds each."""
    if any(True for _ in islice(pieces, _MAX_PIECES, None)):
        raise ImageError("decode_error", f"more than {_MAX_PIECES} pieces of metadata")


def _png_chunks(data: bytes) -> Iterator[bytes]:
    at = len(b"\x89PNG\r\n\x1a\n")
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        yield kind
        at += 12 + size


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Marker and offset (of its length) of each segment of a JPEG, those inside others left out."""
    at = 2
    while (match := _MARKER.search(data, at)) is not None:
        marker, start = match[1][0], match.end()
        yield marker, start
        if marker == _END or start + 2 > len(data):
            return
        at = start + int.from_bytes(data[start : start + 2], "big")
