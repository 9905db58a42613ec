"""`easyocr.Reader.detect`, untouched: the reference that the default detector is compared with.

It merges words into lines and adds margins, and its boxes carry no scores (each gets 1).
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from lesstext.errors import DetectorError, UsageError
from lesstext.images import Pixels
from lesstext.text_detection.detectors.craft.weights import FILE_NAME, SHA256, find_weights
from lesstext.text_detection.protocol import DetectorSettings, TextRegions, refuse_unknown_options

DEFAULT_CANVAS_PX = 2560  # EasyOCR's own


def identify(settings: DetectorSettings) -> str:
    """EasyOCR's version, the weights and the canvas size; all else is EasyOCR's default."""
    refuse_unknown_options(settings, ())
    if settings.precision not in (None, "float32"):
        raise UsageError(f"detector easyocr computes in float32 only, not {settings.precision!r}")
    return (
        f"easyocr version={version('easyocr')} weights={SHA256[:16]} "
        f"size={settings.size_px or DEFAULT_CANVAS_PX} precision=float32"
    )


def load(settings: DetectorSettings) -> EasyOcrDetector:
    """Load EasyOCR's reader without its recogniser; it has no options.

    `size_px` is EasyOCR's `canvas_size`: images whose longer side is larger are reduced to it,
    smaller ones are left as they are.
    """
    import torch

    detector_id = identify(settings)
    torch.set_num_threads(settings.threads)
    try:
        reader = _load_reader(find_weights(settings.weights), settings.device)
    except RuntimeError as error:
        raise DetectorError(f"EasyOCR cannot be loaded on {settings.device}: {error}") from error
    return EasyOcrDetector(detector_id, reader, settings.size_px or DEFAULT_CANVAS_PX)


class EasyOcrDetector:
    """EasyOCR one image at a time; the contract is `text_detection.protocol.Detector`."""

    input_px: int | None = None  # its own rules, such as the least box size, need every pixel

    def __init__(self, id: str, reader: Any, canvas_px: int) -> None:
        self.id = id
        self._reader = reader
        self._canvas_px = canvas_px

    def detect(self, images: Sequence[Pixels]) -> list[TextRegions]:
        """Text lines as upright boxes, then those that are not level as quads; all (4, 2)."""
        return [self._detect_one(image) for image in images]

    def _detect_one(self, image: Pixels) -> TextRegions:
        (upright,), (free,) = self._reader.detect(image, canvas_size=self._canvas_px)
        boxes = [
            [(left, top), (right, top), (right, bottom), (left, bottom)]
            for left, right, top, bottom in upright
        ]
        polygons = tuple(np.array(box, dtype=np.float32) for box in [*boxes, *free])
        return TextRegions(polygons, np.ones(len(polygons), dtype=np.float32))


def _load_reader(weights: Path, device: str) -> Any:
    """A reader on verified weights; nothing is downloaded or written to EasyOCR's own folders."""
    import easyocr
    import torch

    with _model_folder(weights) as folder:
        reader = easyocr.Reader(
            ["en"],
            gpu=False if device == "cpu" else device,
            model_storage_directory=str(folder),
            user_network_directory=str(folder),
            download_enabled=False,
            recognizer=False,
            verbose=False,
        )
    if isinstance(reader.detector, torch.nn.DataParallel):
        # It would spread over every GPU, and fails on any device but the first.
        reader.detector = reader.detector.module
    return reader


@contextmanager
def _model_folder(weights: Path) -> Iterator[Path]:
    """A temporary folder in which EasyOCR finds the weights under the name that it expects."""
    search_path = list(sys.path)
    with tempfile.TemporaryDirectory(prefix="lesstext-easyocr-") as folder:
        (Path(folder) / FILE_NAME).symlink_to(weights.resolve())
        try:
            yield Path(folder)
        finally:
            sys.path[:] = search_path  # the reader appends its folder
