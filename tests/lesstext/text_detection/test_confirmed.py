"""Two detectors on one canvas: each decides what it is asked, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from attr_builder.drawing.fonts import load_font, resolve_font
from lesstext.errors import DetectorError, UsageError
from lesstext.images import Pixels
from lesstext.text_detection.detectors.confirmed import (
    ConfirmedDetector,
    Window,
    identify,
    windows_around,
)
from lesstext.text_detection.detectors.maps import MapDetector, MapStages
from lesstext.text_detection.detectors.small.regions import Thresholds
from lesstext.text_detection.protocol import (
    DetectorSettings,
    TextRegions,
    identify_detector,
    load_detector,
)

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
        low = Thresholds(low=LOW / 255, seed=LOW / 255)
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


def detector(margin_px: int = 0, batch_size: int = 1) -> ConfirmedDetector:
    return ConfirmedDetector(
        id="confirmed",
        first=Marker(0, is_double=False),  # type: ignore[arg-type]
        second=Marker(1, is_double=True),  # type: ignore[arg-type]
        margin_px=margin_px,
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


NOTHING = image(0, 16)
ELSEWHERE = image(24, 16)
SAME_PLACE = image(24, 60)
DENIED = image(24, 0)


@pytest.mark.parametrize("batch_size", [1, 3, 5])
def test_where_the_first_marks_the_second_decides(batch_size: int) -> None:
    confirmed = detector(batch_size=batch_size)
    found = confirmed.detect([NOTHING, ELSEWHERE, SAME_PLACE, DENIED])
    assert [one.scores.tolist() for one in found] == [[], [], [0.5], []]
    box = found[2].polygons[0]
    assert (box.min(), box.max()) == (4, 32)  # of what is marked up to 64, what the window holds
    assert confirmed.tallies == {"looked at twice": 3}
    assert confirmed._second.n_seen == 3  # type: ignore[attr-defined]


def test_a_margin_shows_more() -> None:
    (found,) = detector(margin_px=16).detect([ELSEWHERE])
    assert (found.polygons[0].min(), found.polygons[0].max()) == (48, 64)


def test_what_the_first_overlooks_is_not_looked_at_again() -> None:
    confirmed = detector(margin_px=64)
    assert [one.polygons for one in confirmed.detect([NOTHING])] == [()]
    assert confirmed.tallies == {"looked at twice": 0}


class TestWindows:
    def test_far_marks_have_windows_of_their_own_and_near_ones_share_one(self) -> None:
        far, near = Window(2, 100, 6, 104), Window(2, 10, 6, 14)
        found = windows_around([Window(2, 2, 6, 6), near, far], (128, 256), 0)
        assert found == [Window(0, 0, 32, 32), Window(0, 192, 32, 224)]

    @given(
        st.lists(st.tuples(*[st.floats(0, 1)] * 4), max_size=8),
        st.sampled_from([(64, 96), (192, 192), (384, 32)]),
        st.integers(0, 80),
    )
    def test_hold_every_mark_with_its_margin(
        self,
        corners: list[tuple[float, float, float, float]],
        size_px: tuple[int, int],
        margin_px: int,
    ) -> None:
        """Where each lies on the canvas, in multiples of 32, none within another."""
        height, width = size_px
        rows = [sorted(int(share * height / 2) for share in four[:2]) for four in corners]
        columns = [sorted(int(share * width / 2) for share in four[2:]) for four in corners]
        boxes = [Window(y, x, y2, x2) for (y, y2), (x, x2) in zip(rows, columns, strict=True)]
        boxes = [box for box in boxes if box.area_px]
        found = windows_around(boxes, size_px, margin_px)
        for window in found:
            assert not any(side % 32 for side in window)
            assert 0 <= window.top < window.bottom <= height
            assert 0 <= window.left < window.right <= width
            assert not any(window.around(w) == w for w in found if w is not window)
        for top, left, bottom, right in boxes:
            seen = Window(
                max(2 * top - margin_px, 0),
                max(2 * left - margin_px, 0),
                min(2 * bottom + margin_px, height),
                min(2 * right + margin_px, width),
            )
            assert any(window.around(seen) == window for window in found)


class TestReal:
    """With the weights of both."""

    @pytest.fixture(autouse=True)
    def weights(self) -> None:
        pytest.importorskip("easyocr_en_models", reason="needs the extra `weights`")

    def test_with_everything_in_one_window_it_is_craft(self) -> None:
        """Byte for byte."""
        notes = [written("stop"), written("")]
        both, alone = (
            load_detector(DetectorSettings(name=name, size_px=192, options=options))
            for name, options in (
                ("confirmed", {"margin": "192", "runtime": "torch"}),
                ("craft", {}),
            )
        )
        found, expected = both.detect(notes), alone.detect(notes)
        assert [len(one.polygons) for one in expected] == [1, 0]
        for ours, theirs in zip(found, expected, strict=True):
            assert [p.tobytes() for p in ours.polygons] == [p.tobytes() for p in theirs.polygons]
            assert ours.scores.tobytes() == theirs.scores.tobytes()

    def test_in_a_window_it_finds_what_craft_finds_in_the_whole(self) -> None:
        card = np.full((384, 384, 3), 250, dtype=np.uint8)
        card[240:368, 176:368] = written("stop")
        both, alone = (
            load_detector(
                DetectorSettings(
                    name=name, size_px=384, precision="float32", options={"runtime": "torch"}
                )
            )
            for name in ("confirmed", "craft")
        )
        ((ours,), (theirs,)) = (one.detect([card])[0].polygons for one in (both, alone))
        assert np.abs(ours - theirs).max() < 4


class TestSettings:
    def test_the_id_names_both_and_the_margin(self) -> None:
        found = identify(DetectorSettings(name="confirmed", options={"margin": "64"}))
        assert found.startswith("confirmed rule=2 margin=64 first=[small weights=")
        assert "size=384" in found and "second=[craft weights=" in found

    def test_it_is_the_default(self) -> None:
        assert identify_detector(DetectorSettings()) == identify(DetectorSettings(name="confirmed"))

    def test_each_gets_its_own_options_and_craft_the_weights(self, tmp_path: Path) -> None:
        options = {"low": "0.15", "text": "0.6", "runtime": "torch"}
        weights = str(tmp_path / "craft.pth")
        chosen = DetectorSettings(name="confirmed", weights=weights, options=options)
        first, second = re.findall(r"\[(.*?)\]", identify(chosen))
        assert "low=0.15 seed=0.2" in first and "text=0.6" in second
        with pytest.raises(DetectorError, match=r"craft\.pth"):
            load_detector(chosen)

    @pytest.mark.parametrize("precision", ["float32", "bfloat16"])
    def test_both_compute_in_one_precision(self, precision: str) -> None:
        chosen = DetectorSettings(name="confirmed", precision=precision)
        assert identify(chosen).count(f"precision={precision}") == 2

    def test_batches_are_not_part_of_it(self) -> None:
        settings = DetectorSettings(name="confirmed", options={"batch": "7"})
        assert identify(settings) == identify(DetectorSettings(name="confirmed"))

    @pytest.mark.parametrize(
        "options", [{"margin": "-1"}, {"margin": "1.5"}, {"runtime": "x"}, {"first": "craft"}]
    )
    def test_nonsense_is_refused(self, options: dict[str, str]) -> None:
        with pytest.raises(UsageError):
            identify(DetectorSettings(name="confirmed", options=options))
