"""What detectors with maps share, by one whose map is the image's red channel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lesstext.errors import UsageError
from lesstext.images import Pixels
from lesstext.text_detection.detectors.maps import MapDetector, MapStages, batch_option
from lesstext.text_detection.protocol import DetectorSettings, TextRegions


class RedStages(MapStages):
    """One region around all that is above the threshold."""

    __slots__ = ()
    fill = (0, 0, 0)

    def find(self, maps: Any) -> TextRegions:
        rows, columns = np.nonzero(maps >= self.thresholds)
        left, top, right, bottom = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        box = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32)
        return TextRegions((box,), np.ones(1, dtype=np.float32))


class RedDetector(MapDetector):
    """It remembers how many canvases went through it at a time."""

    def __init__(self, batch_size: int) -> None:
        super().__init__(id="red", stages=RedStages(64, 200), device="cpu", batch_size=batch_size)
        self.sizes: list[int] = []

    def maps(self, canvases: Any) -> Any:
        self.sizes.append(len(canvases))
        return canvases[:, ::2, ::2, 0]

    def hold_text(self, maps: Any) -> Any:
        return maps.amax(dim=(1, 2)) >= self.stages.thresholds


def _patch(left: int, top: int) -> Pixels:
    image = np.zeros((96, 128, 3), dtype=np.uint8)
    image[top : top + 32, left : left + 64, 0] = 255
    return image


def test_regions_lie_in_the_images_own_frame() -> None:
    blank = np.zeros((96, 128, 3), dtype=np.uint8)
    found = RedDetector(3).detect([_patch(0, 32), blank, _patch(64, 64)])
    assert [len(one.polygons) for one in found] == [1, 0, 1]
    assert found[0].polygons[0].tolist() == [[0, 32], [64, 32], [64, 64], [0, 64]]
    assert found[2].polygons[0].tolist() == [[64, 64], [128, 64], [128, 96], [64, 96]]


def test_the_padding_is_cut_off() -> None:
    red = np.full((20, 128, 3), 255, dtype=np.uint8)  # 64 x 10 on a canvas of 64 x 32
    (found,) = RedDetector(1).detect([red])
    assert found.polygons[0].tolist() == [[0, 0], [128, 0], [128, 20], [0, 20]]


def test_on_a_processor_no_canvas_shares_a_forward() -> None:
    """With some processors the last bits follow the batch."""
    detector = RedDetector(3)
    assert len(detector.submit([_patch(0, 0)[:64, :64]] * 3).result()) == 3
    assert detector.sizes == [1, 1, 1]


def test_when_memory_runs_out_the_batch_is_halved_for_good(monkeypatch: Any) -> None:
    import torch

    detector = RedDetector(8)
    submit = detector._submit

    def small_memory(canvases: Any) -> Any:
        if len(canvases) > 3:
            raise torch.OutOfMemoryError("no room")
        return submit(canvases)

    monkeypatch.setattr(detector, "_submit", small_memory)
    canvases = [np.full((64, 64, 3), level, dtype=np.uint8) for level in range(0, 256, 32)]
    found = detector.submit(canvases).result()
    assert detector.batch_size == 2
    assert [None if one is None else int(one[0, 0]) for one in found] == [None] * 7 + [224]


def test_batches_are_whole_numbers_above_0() -> None:
    assert batch_option(DetectorSettings(options={"batch": "5"}), 16) == 5
    assert batch_option(DetectorSettings(device="cuda:1"), 16) == 16
    assert batch_option(DetectorSettings(), 16) == 1
    with pytest.raises(UsageError, match="detector confirmed: batch must be a whole number"):
        batch_option(DetectorSettings(options={"batch": "0"}), 16)
