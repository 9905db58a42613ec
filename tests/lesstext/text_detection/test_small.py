"""The small detector: its weights, its regions, and the same answer from whatever computes it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw

from attr_builder.drawing.fonts import load_font, resolve_font
from lesstext.errors import DetectorError, UsageError
from lesstext.geometry import area_ratios
from lesstext.images import Pixels
from lesstext.text_detection.detectors.small.detector import BUNDLED_WEIGHTS, SmallDetector
from lesstext.text_detection.detectors.small.regions import Thresholds, text_regions
from lesstext.text_detection.protocol import DetectorSettings, identify_detector, load_detector

MAX_WEIGHTS_BYTES = 5_000_000


def _load(**chosen: object) -> SmallDetector:
    options = {"runtime": "torch", **chosen.pop("options", {})}  # type: ignore[dict-item]
    settings = DetectorSettings(name="small", options=options, **chosen)  # type: ignore[arg-type]
    detector = load_detector(settings)
    assert isinstance(detector, SmallDetector)
    return detector


@pytest.fixture(scope="module")
def detector() -> SmallDetector:
    return _load(size_px=256)


def _note(text: str, size: tuple[int, int] = (256, 192)) -> Pixels:
    """A yellow note on a grey ground, with or without a word on it."""
    image = Image.new("RGB", size, (120, 125, 130))
    pen = ImageDraw.Draw(image)
    pen.rectangle((40, 40, size[0] - 40, size[1] - 40), fill=(250, 240, 110))
    font = load_font(resolve_font(None).path, 44)
    pen.text((60, 65), text, fill=(20, 20, 30), font=font)
    return np.asarray(image, dtype=np.uint8)


def _ratio(detector: SmallDetector, image: Pixels) -> float:
    (found,) = detector.detect([image])
    return area_ratios(found.polygons, image.shape[1], image.shape[0]).union


class TestDetector:
    def test_tells_a_written_note_from_a_blank_one(self, detector: SmallDetector) -> None:
        assert _ratio(detector, _note("")) == 0
        assert 0.03 < _ratio(detector, _note("stop")) < 0.3

    def test_regions_cover_the_word_in_the_images_own_frame(self, detector: SmallDetector) -> None:
        large = cv2.resize(_note("stop"), (768, 576))
        (found,) = detector.detect([np.asarray(large, dtype=np.uint8)])
        points = np.concatenate(found.polygons)
        assert 120 < points[:, 0].min() < 240 < 330 < points[:, 0].max() < 600
        assert 150 < points[:, 1].min() < points[:, 1].max() < 400

    def test_an_image_does_not_depend_on_those_beside_it(self, detector: SmallDetector) -> None:
        images = [_note("stop"), _note("", (192, 256)), _note("go", (200, 100)), _note("exit")]
        together = _load(size_px=256, options={"batch": "3"}).detect(images)
        for image, found in zip(images, together, strict=True):
            (alone,) = detector.detect([image])
            assert [p.tobytes() for p in alone.polygons] == [p.tobytes() for p in found.polygons]
            assert alone.scores.tobytes() == found.scores.tobytes()

    def test_same_bytes_twice(self, detector: SmallDetector) -> None:
        first, second = (detector.detect([_note("stop")])[0] for _ in range(2))
        assert [p.tobytes() for p in first.polygons] == [p.tobytes() for p in second.polygons]
        assert first.scores.tobytes() == second.scores.tobytes()

    def test_openvino_agrees_with_torch(self, detector: SmallDetector) -> None:
        pytest.importorskip("openvino", reason="needs the extra `fast`")
        other = _load(size_px=256, options={"runtime": "openvino"})
        for text in ("", "stop", "Exit 7"):
            assert _ratio(other, _note(text)) == pytest.approx(
                _ratio(detector, _note(text)), abs=2e-3
            )

    def test_weights_fit_into_the_wheel(self) -> None:
        assert 0 < BUNDLED_WEIGHTS.stat().st_size <= MAX_WEIGHTS_BYTES

    def test_the_id_names_weights_runtime_precision_and_settings(self) -> None:
        def identify(**options: str) -> str:
            return identify_detector(DetectorSettings(name="small", options=options))

        plain = identify(runtime="torch")
        assert "runtime=torch precision=float32 size=384 low=0.5 seed=0.7" in plain
        assert identify(runtime="torch", batch="4") == plain
        assert identify(runtime="torch", low="0.4") != plain

    def test_what_is_wrong_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(DetectorError, match=r"no\.safetensors does not exist"):
            _load(weights=str(tmp_path / "no.safetensors"))
        damaged = tmp_path / "bad.safetensors"
        damaged.write_bytes(b"no weights")
        with pytest.raises(DetectorError, match="cannot be loaded"):
            _load(weights=str(damaged))
        with pytest.raises(UsageError, match="runtime must be one of torch, openvino"):
            _load(options={"runtime": "abacus"})
        with pytest.raises(UsageError, match=r"seed .* must be at least low"):
            _load(options={"low": "0.9"})
        with pytest.raises(UsageError, match="precision must be one of"):
            _load(precision="float16")


class TestRegions:
    def test_a_rectangle_is_found_to_its_edges(self) -> None:
        probabilities = np.zeros((40, 60), dtype=np.uint8)
        probabilities[10:20, 5:45] = 255
        found = text_regions(probabilities, Thresholds())
        (box,) = found.polygons
        assert sorted(map(tuple, box.round(3).tolist())) == [(5, 10), (5, 20), (45, 10), (45, 20)]
        assert found.scores.tolist() == [1.0]

    def test_what_is_weak_everywhere_is_none(self) -> None:
        probabilities = np.zeros((40, 60), dtype=np.uint8)
        probabilities[10:20, 5:45] = 150
        assert text_regions(probabilities, Thresholds()).polygons == ()
        probabilities[12, 9] = 200
        assert len(text_regions(probabilities, Thresholds()).polygons) == 1

    def test_a_bent_region_keeps_its_area(self) -> None:
        probabilities = np.zeros((60, 60), dtype=np.uint8)
        probabilities[5:55, 5:15] = 255
        probabilities[45:55, 5:55] = 255
        (outline,) = text_regions(probabilities, Thresholds()).polygons
        area = area_ratios([outline], 60, 60).union * 3600
        assert area == pytest.approx(900, rel=0.05)

    def test_specks_are_none(self) -> None:
        probabilities = np.zeros((40, 60), dtype=np.uint8)
        probabilities[3:5, 3:5] = 255
        assert text_regions(probabilities, Thresholds()).polygons == ()
