"""Draws images whose text the fake detector can read, and writes them into tars."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

Members = Sequence[tuple[str, bytes]]


def picture(
    width: int = 64, height: int = 48, text_ratio: float = 0.0, seed: int = 0
) -> Image.Image:
    """A grey picture whose topmost rows, `text_ratio` of its area, are magenta."""
    pixels = np.full((height, width, 3), 40 + seed % 100, dtype=np.uint8)
    pixels[: round(height * text_ratio)] = (255, 0, 255)
    return Image.fromarray(pixels)


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def sample(
    key: str,
    image: bytes | None = None,
    suffix: str = "png",
    caption: str | None = "a caption",
    **fields: object,
) -> list[tuple[str, bytes]]:
    """The members of one sample."""
    members = [(f"{key}.{suffix}", image if image is not None else encoded(picture()))]
    if caption is not None:
        members.append((f"{key}.txt", caption.encode()))
    members.append((f"{key}.json", json.dumps({"key": key, **fields}).encode()))
    return members


def ratio_samples(ratios: Sequence[float], prefix: str = "s") -> list[tuple[str, bytes]]:
    """One sample for each ratio; a height of 100 px makes two decimals exact."""
    return [
        member
        for i, ratio in enumerate(ratios)
        for member in sample(
            f"{prefix}{i:04d}", encoded(picture(40, 100, ratio, seed=i)), uid=f"{i:032x}"
        )
    ]


def tar_bytes(members: Members) -> bytes:
    """A tar of these members, as webdataset's writer makes it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.mtime = 1_700_000_000
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def write_tar(path: Path, members: Members) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tar_bytes(members))
    return path


def read_tar(path: Path) -> list[tuple[str, bytes]]:
    """Names and contents of a tar's members, by the standard library."""
    with tarfile.open(path) as tar:
        return [(m.name, tar.extractfile(m).read()) for m in tar]  # type: ignore[union-attr]
