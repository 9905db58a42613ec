"""Lines are found, read and believed; the same for any neighbours, and on both runtimes."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from lesstext.errors import DetectorError, UsageError
from lesstext.geometry import area_ratios, polygon_area
from lesstext.text_detection.detectors.checked import Belief, CheckedDetector
from lesstext.text_detection.ppocr import models
from lesstext.text_detection.ppocr.lines import LineThresholds, line_boxes
from lesstext.text_detection.ppocr.models import Computing, bundled_model, default_runtime
from lesstext.text_detection.ppocr.reading import Reader, as_quad, decode, straightened
from lesstext.text_detection.protocol import (
    DetectorSettings,
    TextRegions,
    Word,
    identify_detector,
    load_detector,
    reads,
)
from tests.lesstext.text_detection.drawn_words import board

pytest.importorskip("rapidocr")

SIGN = board([("OPEN TODAY", 30, 20, 40), ("café 24", 60, 150, 48)])
BLANK = board([])
SMALL = board([("Nord", 40, 30, 36)], width=160, height=120)


@cache
def checked(precision: str | None = None, **options: str) -> CheckedDetector:
    settings = DetectorSettings(name="checked", precision=precision, options=options)
    detector = load_detector(settings)
    assert isinstance(detector, CheckedDetector)
    return detector


def as_values(found: TextRegions) -> Any:
    words = [(word.text, word.score, word.region.tolist()) for word in found.words or ()]
    return [p.tolist() for p in found.polygons], found.scores.tolist(), words


class TestLines:
    def test_a_core_is_grown_back_on_all_sides(self) -> None:
        probability = np.zeros((100, 200), dtype=np.float32)
        probability[40:60, 50:150] = 0.9
        found = line_boxes(probability, LineThresholds())
        (box,) = found.polygons
        margin = 100 * 20 * 1.6 / (2 * (100 + 20))
        assert box.min(axis=0) == pytest.approx([50 - margin, 40 - margin], abs=2)
        assert box.max(axis=0) == pytest.approx([150 + margin, 60 + margin], abs=2)
        assert box[0] == pytest.approx(box.min(axis=0), abs=0.01)
        assert np.cross(np.append(box[1] - box[0], 0), np.append(box[2] - box[1], 0))[2] > 0
        assert found.scores[0] == pytest.approx(0.9, abs=0.1)

    def test_a_turned_core_keeps_its_shape(self) -> None:
        probability = np.zeros((200, 200), dtype=np.float32)
        corners = cv2.boxPoints(((100, 100), (120, 24), 30)).astype(np.int32)
        cv2.fillPoly(probability, [corners], (0.8,))
        (box,) = line_boxes(probability, LineThresholds()).polygons
        margin = 2 * 120 * 24 * 1.6 / (2 * (120 + 24))
        assert polygon_area(box) == pytest.approx((120 + margin) * (24 + margin), rel=0.13)

    def test_improbable_and_tiny_cores_are_no_lines(self) -> None:
        probability = np.zeros((100, 200), dtype=np.float32)
        probability[10:30, 10:60] = 0.4
        probability[60, 60:62] = 0.9
        assert line_boxes(probability, LineThresholds()).polygons == ()


class TestReading:
    def test_repeats_merge_and_blanks_part(self) -> None:
        steps = np.full((7, 3), 0.05, dtype=np.float32)
        for step, best in enumerate([1, 1, 0, 1, 2, 2, 0]):
            steps[step, best] = 0.9 if step != 3 else 0.6
        text, score = decode(steps, (None, "a", "b"))
        assert text == "aab"
        assert score == pytest.approx((0.9 + 0.6 + 0.9) / 3)

    def test_blanks_alone_are_no_text(self) -> None:
        steps = np.zeros((4, 3), dtype=np.float32)
        steps[:, 0] = 0.9
        assert decode(steps, (None, "a", " ")) == ("", 0.0)
        steps[1, 2] = 1.0
        assert decode(steps, (None, "a", " ")) == ("", 0.0)

    def test_a_slanted_quad_is_straightened(self) -> None:
        image = np.zeros((120, 160, 3), dtype=np.uint8)
        quad = np.array([[30, 20], [110, 50], [100, 80], [20, 50]], dtype=np.float32)
        cv2.fillPoly(image, [quad.astype(np.int32)], (255, 255, 255))
        line = straightened(image, quad)
        assert line is not None
        assert line.shape[:2] == (31, 85)
        assert (line[3:-3, 3:-3] > 250).all()

    def test_a_quad_without_inside_is_nothing(self) -> None:
        point = np.full((4, 2), 7, dtype=np.float32)
        assert straightened(SIGN, point) is None
        assert Reader(Computing(runtime=default_runtime())).read(SIGN, [point]) == []

    def test_a_polygon_becomes_the_rectangle_around_it(self) -> None:
        polygon = np.array([[0, 0], [40, 0], [60, 10], [40, 20], [0, 20]], dtype=np.float32)
        quad = as_quad(polygon)
        assert quad[0] == pytest.approx([0, 0], abs=0.01)
        assert quad[2] == pytest.approx([60, 20], abs=0.01)

    @pytest.mark.parametrize("turns", [1, 3])
    def test_a_line_is_read_from_either_side(self, turns: int) -> None:
        turned = np.ascontiguousarray(np.rot90(board([("FRIDAY", 20, 10, 40)], 200, 70), turns))
        whole = np.array([[0, 0], [70, 0], [70, 200], [0, 200]], dtype=np.float32)
        (word,) = Reader(Computing(runtime=default_runtime())).read(turned, [whole])
        assert word.text == "FRIDAY"


class TestChecked:
    def test_finds_and_reads_a_sign(self) -> None:
        (found,) = checked().detect([SIGN])
        assert found.words is not None
        texts = sorted(word.text.replace(" ", "") for word in found.words)
        assert texts == ["OPENTODAY", "café24"]
        assert len(found.polygons) == 2
        ratio = area_ratios(found.polygons, SIGN.shape[1], SIGN.shape[0]).union
        assert 0.1 < ratio < 0.35
        top = min(found.polygons, key=lambda polygon: float(polygon[:, 1].min()))
        assert top[:, 0].min() == pytest.approx(30, abs=14)
        assert top[:, 1].max() == pytest.approx(64, abs=14)

    def test_a_blank_board_holds_nothing(self) -> None:
        (found,) = checked().detect([BLANK])
        assert as_values(found) == ([], [], [])

    def test_what_is_read_need_not_be_believed(self) -> None:
        (found,) = checked(letters="5").detect([board([("2024", 60, 80, 72)])])
        assert [word.text for word in found.words or ()] == ["2024"]
        assert found.polygons == ()

    def test_a_plain_line_of_another_script_is_a_doubt(self) -> None:
        (found,) = checked().detect([board([("хлеб", 60, 80, 72)])])
        assert found.polygons == ()
        (doubt,) = found.doubts
        assert doubt[:, 0].min() == pytest.approx(60, abs=25)

    def test_does_not_depend_on_neighbours_or_order(self) -> None:
        images = [SIGN, SMALL, BLANK, np.ascontiguousarray(SIGN[:, ::-1])]
        together = checked().detect(images)
        backwards = checked().detect(images[::-1])[::-1]
        alone = [checked().detect([image])[0] for image in images]
        assert list(map(as_values, together)) == list(map(as_values, alone))
        assert list(map(as_values, backwards)) == list(map(as_values, alone))

    def test_the_runtimes_agree(self) -> None:
        pytest.importorskip("openvino")
        pytest.importorskip("onnxruntime")
        found = [
            checked("float32", runtime=runtime).detect([SIGN, SMALL])
            for runtime in ("openvino", "onnxruntime")
        ]
        for one, other in zip(*found, strict=True):
            assert [w.text for w in one.words or ()] == [w.text for w in other.words or ()]
            for a, b in zip(one.polygons, other.polygons, strict=True):
                assert a == pytest.approx(b, abs=0.5)

    def test_it_says_that_it_reads(self) -> None:
        assert reads(DetectorSettings(name="checked"))
        assert not reads(DetectorSettings(name="rapidocr"))

    def test_the_id_names_what_can_change_a_result(self) -> None:
        def name(**chosen: Any) -> str:
            return identify_detector(DetectorSettings(name="checked", **chosen))

        assert checked().id == name()
        for part in (bundled_model("det").stem, bundled_model("rec").stem, default_runtime()):
            assert part in name()
        names = {
            name(),
            name(size_px=384),
            name(options={"letters": "3"}),
            name(options={"score": "0.5"}),
        }
        assert len(names) == 4

    @pytest.mark.parametrize(
        ("chosen", "message"),
        [
            ({"device": "cuda:0"}, "CPU only, not on cuda:0"),
            ({"weights": "model.onnx"}, "omit --weights"),
            ({"options": {"unclip": "2"}}, "has no option unclip"),
            ({"options": {"runtime": "tensorrt"}}, "runtime must be one of openvino, onnxruntime"),
            ({"options": {"letters": "0"}}, "letters must be at least 1, got 0"),
            ({"options": {"letters": "two"}}, "detector checked: .*'two'"),
            ({"options": {"score": "7"}}, r"score must be within \[0, 1\], got 7"),
            (
                {"options": {"runtime": "onnxruntime"}, "precision": "bfloat16"},
                "onnxruntime computes these models in float32, not 'bfloat16'",
            ),
        ],
    )
    def test_refuses_what_it_cannot_do(self, chosen: dict[str, Any], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            identify_detector(DetectorSettings(name="checked", **chosen))

    @pytest.mark.parametrize(
        ("missing", "extra"), [("openvino", "fast"), ("onnxruntime", "rapidocr")]
    )
    def test_a_missing_runtime_names_its_extra(
        self, missing: str, extra: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            models, "find_spec", lambda name: None if name == missing else SimpleNamespace()
        )
        with pytest.raises(DetectorError, match=rf"{missing} is not installed.*\[{extra}\]"):
            _ = Computing(runtime=missing).id  # type: ignore[arg-type]


class TestBelief:
    @pytest.mark.parametrize(
        ("text", "score", "ratio", "believed"),
        [
            ("no", 0.7, 0.01, True),
            ("no", 0.69, 0.01, False),
            ("n", 0.99, 0.01, False),
            ("a1b", 0.7, 0.01, True),
            ("日本", 0.7, 0.01, True),
            ("ΩΔ", 0.7, 0.01, True),
            ("★☆", 0.99, 0.01, False),
            ("24/7", 0.95, 0.01, True),
            ("24/7", 0.94, 0.01, False),
            ("7", 0.99, 0.01, False),
            ("ind", 0.89, 0.06, False),
            ("ind", 0.9, 0.06, True),
            ("Bane", 0.7, 0.06, True),
        ],
    )
    def test_letters_numbers_and_large_lines(
        self, text: str, score: float, ratio: float, believed: bool
    ) -> None:
        region = np.zeros((4, 2), dtype=np.float32)
        assert Belief().holds(Word(text, score, region), ratio) is believed

    @pytest.mark.parametrize(
        ("text", "score", "doubted"), [("n4", 0.2, True), ("n4", 0.19, False), ("n", 0.9, False)]
    )
    def test_what_may_still_be_a_word(self, text: str, score: float, doubted: bool) -> None:
        region = np.zeros((4, 2), dtype=np.float32)
        assert Belief().may_hold(Word(text, score, region)) is doubted
