"""What the teacher sees in each photo: CRAFT's word boxes, asked once and kept on disk.

Most photos hold no text. A photo on which PP-OCR's detector, which overlooks little and invents
much, finds nothing at all is taken to be free of text; CRAFT is asked about the others only. Where
CRAFT finds a word, what PP-OCR alone finds beside it is most often text too small for CRAFT: it is
stored as doubtful, and trains nothing.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from distillation.photos import Photo
from lesstext.errors import ImageError
from lesstext.images import InputShape, Pixels, input_shape, letterbox
from lesstext.text_detection.detectors.small.network import MAP_STRIDE, MULTIPLE_PX, SmallNetwork
from lesstext.text_detection.protocol import Detector, DetectorSettings, load_detector

SURELY_NOTHING = 0.15
_DOUBTFUL = 0.3
_LONGER_PX = 384
_TEACHER_PX = (384, 512)  # for photos of up to 400 px, and for larger ones
_SMALL_PX = 400
_MIN_DOUBTFUL_PX = 6  # of the map

Polygons = list[NDArray[np.float32]]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PhotoLabel:
    """Boxes (4, 2) as shares of the photo's width and height: words, and what may be words."""

    words: Polygons
    doubtful: Polygons


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of photos by their keys, and the file that keeps them."""

    path: Path
    by_key: dict[str, PhotoLabel]

    @classmethod
    def read(cls, path: Path) -> Labels:
        """What was stored so far; a line that was cut while it was written counts for nothing."""
        by_key = {}
        for line in path.read_text().splitlines() if path.exists() else ():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            by_key[row["key"]] = PhotoLabel(_boxes(row["words"]), _boxes(row["doubtful"]))
        return cls(path, by_key)

    def add(self, key: str, label: PhotoLabel) -> None:
        self.by_key[key] = label
        row = {"key": key, "words": _rounded(label.words), "doubtful": _rounded(label.doubtful)}
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def label_photos(
    photos: Sequence[Photo], path: Path, proposer: SmallNetwork, *, threads: int
) -> Labels:
    """Labels of all photos; those that `path` holds already are not asked about again."""
    labels = Labels.read(path)
    teachers = [
        load_detector(DetectorSettings(name="craft", size_px=size, threads=threads))
        for size in _TEACHER_PX
    ]
    missing = [photo for photo in photos if photo.key not in labels.by_key]
    for done, photo in enumerate(missing):
        try:
            pixels = photo.pixels(target_px=2 * _TEACHER_PX[-1])
        except ImageError:
            continue
        labels.add(photo.key, _label(pixels, proposer, teachers))
        if done % 200 == 199:
            _log.info("labelled %d of %d photos", done + 1, len(missing))
    return labels


def _label(pixels: Pixels, proposer: SmallNetwork, teachers: Sequence[Detector]) -> PhotoLabel:
    height, width = pixels.shape[:2]
    shape = input_shape(width, height, longer_px=_LONGER_PX, multiple_px=MULTIPLE_PX)
    proposed = probabilities(pixels, proposer, shape)
    if proposed.max() < SURELY_NOTHING:
        return PhotoLabel([], [])
    teacher = teachers[max(height, width) > _SMALL_PX]
    (found,) = teacher.detect([pixels])
    words = [polygon / np.array((width, height), dtype=np.float32) for polygon in found.polygons]
    return PhotoLabel(words, _patches(proposed, shape) if words else [])


def probabilities(pixels: Pixels, network: SmallNetwork, shape: InputShape) -> NDArray[np.float32]:
    """The network's map (h, w) of an RGB image that enters it as `shape` says; no padding."""
    canvas = np.empty((shape.padded_height_px, shape.padded_width_px, 3), dtype=np.uint8)
    letterbox(pixels, shape, canvas, fill=(127, 127, 127))
    x = torch.from_numpy(canvas).permute(2, 0, 1)[None].float() / 127.5 - 1
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        full = torch.sigmoid(network(x).float())[0, 0].numpy()
    return full[: -(-shape.height_px // MAP_STRIDE), : -(-shape.width_px // MAP_STRIDE)]


def _patches(proposed: NDArray[np.float32], shape: InputShape) -> Polygons:
    """Upright boxes around what the proposer finds, grown to the size of words."""
    mask = (proposed > _DOUBTFUL).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    boxes: Polygons = []
    for x, y, w, h, size in stats[1:].tolist():
        if size < _MIN_DOUBTFUL_PX:
            continue
        margin = min(w, h)  # the proposer marks the middle of a line only
        left, top, right, bottom = x - margin, y - margin, x + w + margin, y + h + margin
        corners = np.array(
            [(left, top), (right, top), (right, bottom), (left, bottom)], dtype=np.float32
        )
        size_px = np.array((shape.width_px, shape.height_px), dtype=np.float32)
        boxes.append((corners * MAP_STRIDE / size_px).astype(np.float32))
    return boxes


def _boxes(rows: list[list[list[float]]]) -> Polygons:
    return [np.array(box, dtype=np.float32) for box in rows]


def _rounded(boxes: Polygons) -> list[list[list[float]]]:
    return [[[round(float(value), 5) for value in point] for point in box] for box in boxes]
