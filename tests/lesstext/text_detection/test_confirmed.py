"""Two detectors on one canvas: each decides what it is asked, and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from attr_builder.drawing.fonts import load_font, resolve_font
from lesstext.errors import UsageError
from lesstext.images import Pixels
from lesstext.text_detection.detectors.confirmed import ConfirmedDetector, identify
from lesstext.text_detection.detectors.maps import MapDetector, MapStages
from lesstext.text_detection.protocol import DetectorSettings, TextRegions, load_detector

LOW = 128


class Marks(MapStages):
    """One region around all that is marked, whose score tells who found it."""

    fill = (0, 0, 0)

    def find(self, maps: NDArray[Any]) -> TextRegions:
        rows, columns = np.nonzero(maps.reshape(-1, *maps.shape[-2:])[0] > LOW)
        left, top, right, bottom = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        box = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32)
        return TextRegions((box,), np.full(1, 1 if maps.ndim == 2 else 0.5, dtype=np.float32))


class Marker(MapDetector):
    """It marks what one channel shows: as a map, or as the first of two."""

    def __init__(self, channel: int, is_double: bool) -> None:
        low = type("Low", (), {"low": LOW / 255})()
        super().__init__(id="marker", stages=Marks(64, low), device="cpu", batch_size=1)
        self.channel, self.is_double = channel, is_double
        self.n_seen = 0

    def maps(self, canvases: Any) -> Any:
        import torch

        self.n_seen += len(canvases)
        found = canvases[:, ::2, ::2, self.channel]
        return torch.stack([found, found], dim=1).float() if self.is_double else found

    def hold_text(self, maps: Any) -> Any:
        return maps.flatten(1).amax(dim=1) > LOW


def detector(near: float = 0.05, batch_size: int = 1) -> ConfirmedDetector:
    return ConfirmedDetector(
        id="confirmed",
        first=Marker(0, is_double=False),  # type: ignore[arg-type]
        second=Marker(1, is_double=True),  # type: ignore[arg-type]
        near=near,
        device="cpu",
        batch_size=batch_size,
    )


def image(first_px: int, second_px: int) -> Pixels:
    """What the first sees is so many pixels wide at the top left, of 64, what the second sees
    at the bottom right."""
    made = np.zeros((64, 64, 3), dtype=np.uint8)
    made[:first_px, :first_px, 0] = 255
    made[64 - second_px :, 64 - second_px :, 1] = 255
    return made


def written(text: str) -> Pixels:
    """A white card with or without a word on it."""
    card = Image.new("RGB", (192, 128), (250, 250, 250))
    font = load_font(resolve_font(None).path, 56)
    ImageDraw.Draw(card).text((30, 30), text, fill=(20, 20, 20), font=font)
    return np.asarray(card, dtype=np.uint8)


NOTHING = image(0, 32)
LITTLE = image(8, 32)  # a sixty-fourth of the image
SEEN = image(24, 16)  # a seventh
DENIED = image(24, 0)


@pytest.mark.parametrize("batch_size", [1, 3, 5])
def test_what_the_first_sees_the_second_decides(batch_size: int) -> None:
    confirmed = detector(batch_size=batch_size)
    found = confirmed.detect([NOTHING, LITTLE, SEEN, DENIED])
    assert [one.scores.tolist() for one in found] == [[], [], [0.5], []]
    assert found[2].polygons[0].min() == 48 and found[2].polygons[0].max() == 64
    assert confirmed.tallies == {"looked at twice": 2}
    assert confirmed._second.n_seen == 2  # type: ignore[attr-defined]


def test_near_must_be_passed() -> None:
    share = (12 / 32) ** 2
    assert [len(detector(near).detect([SEEN])[0].polygons) for near in (share, share - 1e-6)] == [
        0,
        1,
    ]


def test_what_the_first_overlooks_is_not_looked_at_again() -> None:
    confirmed = detector(near=0)
    assert [one.polygons for one in confirmed.detect([NOTHING])] == [()]
    assert confirmed.tallies == {"looked at twice": 0}


def test_what_craft_decides_is_what_craft_finds() -> None:
    """Byte for byte, with the weights of both."""
    pytest.importorskip("easyocr_en_models", reason="needs the extra `weights`")
    notes = [written("stop"), written("")]
    whole = {"near": "0", "runtime": "torch"}
    both, alone = (
        load_detector(DetectorSettings(name=name, size_px=192, options=options))
        for name, options in (("confirmed", whole), ("craft", {}))
    )
    found, expected = both.detect(notes), alone.detect(notes)
    assert [len(one.polygons) for one in expected] == [1, 0]
    for ours, theirs in zip(found, expected, strict=True):
        assert [p.tobytes() for p in ours.polygons] == [p.tobytes() for p in theirs.polygons]
        assert ours.scores.tobytes() == theirs.scores.tobytes()


class TestSettings:
    def test_the_id_names_both_and_the_bound(self) -> None:
        found = identify(DetectorSettings(name="confirmed", options={"near": "0.01"}))
        assert found.startswith("confirmed rule=1 near=0.01 first=[small weights=")
        assert "size=384" in found and "second=[craft weights=" in found

    def test_batches_are_not_part_of_it(self) -> None:
        settings = DetectorSettings(name="confirmed", options={"batch": "7"})
        assert identify(settings) == identify(DetectorSettings(name="confirmed"))

    @pytest.mark.parametrize(
        "options", [{"near": "1.5"}, {"near": "nan"}, {"near": "x"}, {"first": "craft"}]
    )
    def test_nonsense_is_refused(self, options: dict[str, str]) -> None:
        with pytest.raises(UsageError, match="confirmed"):
            identify(DetectorSettings(name="confirmed", options=options))
