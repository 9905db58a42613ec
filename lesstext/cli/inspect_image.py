"""Single images: ratio, regions, and a picture with the regions drawn in."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lesstext.errors import ImageError
from lesstext.geometry import area_ratios
from lesstext.images import Pixels, decode
from lesstext.storage.files import atomic_path, read_file
from lesstext.text_detection.protocol import Detector, TextRegions

_COLOUR = (255, 0, 200)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What a detector sees in one image file; `error` is set when it cannot be decoded.

    `words` is None from a detector that does not read.
    """

    path: Path
    text_area_ratio: float | None = None
    regions: list[dict[str, Any]] = field(default_factory=list)
    words: list[dict[str, Any]] | None = None
    picture: Path | None = None
    error: str | None = None

    def as_line(self) -> str:
        if self.error is not None:
            return f"{self.path}: {self.error}"
        drawn = f", drawn in {self.picture}" if self.picture else ""
        read = " · ".join(word["text"] for word in self.words or ())
        return (
            f"{self.path}: text-area ratio {self.text_area_ratio:.4f}, "
            f"{len(self.regions)} regions{drawn}" + (f", read: {read}" if read else "")
        )

    def as_json(self) -> str:
        return json.dumps(
            {
                "path": str(self.path),
                "text_area_ratio": self.text_area_ratio,
                "regions": self.regions,
                "words": self.words,
                "picture": str(self.picture) if self.picture else None,
                "error": self.error,
            }
        )


def inspect_image(path: Path, detector: Detector, picture: Path | None = None) -> Inspection:
    """Detect text in one file; with `picture`, write the image there with the regions drawn in."""
    try:
        image = decode(read_file(path))
    except (ImageError, OSError) as error:
        return Inspection(path=path, error=str(error))
    regions = detector.detect([image.pixels])[0]
    if picture is not None:
        _write_png(picture, draw_regions(image.pixels, regions))
    return Inspection(
        path=path,
        text_area_ratio=area_ratios(regions.polygons, image.width, image.height).union,
        regions=[
            {"score": round(float(score), 4), "polygon": polygon.round(2).tolist()}
            for polygon, score in zip(regions.polygons, regions.scores, strict=True)
        ],
        words=None
        if regions.words is None
        else [
            {"text": w.text, "score": round(w.score, 4), "polygon": w.region.round(2).tolist()}
            for w in regions.words
        ],
        picture=picture,
    )


def draw_regions(pixels: Pixels, regions: TextRegions) -> Pixels:
    """A copy of the (H, W, 3) picture with every region outlined and tinted."""
    outlines = [np.round(polygon).astype(np.int32) for polygon in regions.polygons]
    tinted = cv2.fillPoly(pixels.copy(), outlines, _COLOUR)
    drawn = cv2.addWeighted(pixels, 0.7, tinted, 0.3, 0)
    width_px = max(1, round(max(pixels.shape[:2]) / 400))
    return np.asarray(cv2.polylines(drawn, outlines, True, _COLOUR, width_px), dtype=np.uint8)


def _write_png(path: Path, pixels: Pixels) -> None:
    encoded, data = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    assert encoded
    with atomic_path(path) as partial:
        partial.write_bytes(data.tobytes())
