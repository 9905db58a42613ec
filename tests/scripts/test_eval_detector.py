"""The measuring script: each metric against a case worked by hand, then a whole run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from detector_eval import metrics
from detector_eval.data import load_icdar, load_images, load_scam, outlined_quads
from detector_eval.metrics import OperatingPoint
from eval_detector import EvalConfig, evaluate
from PIL import Image

from lesstext.errors import UsageError

_MAGENTA = (255, 0, 255)


class TestMetrics:
    @pytest.mark.parametrize(
        ("positives", "negatives", "expected"),
        [
            ([0.9, 0.8], [0.1, 0.2], 1.0),
            ([0.1, 0.2], [0.9, 0.8], 0.0),
            ([0.5, 0.5], [0.5], 0.5),
            # Of six comparisons: 0.3 beats all three, 0.1 beats 0.0 and ties with 0.1.
            ([0.3, 0.1], [0.0, 0.1, 0.2], 4.5 / 6),
        ],
    )
    def test_auc(self, positives: list[float], negatives: list[float], expected: float) -> None:
        assert metrics.auc(positives, negatives) == pytest.approx(expected)

    def test_paired_win_rate_compares_each_with_its_own(self) -> None:
        # won, lost, tied, won
        assert metrics.paired_win_rate([0.2, 0.1, 0, 0.9], [0.1, 0.3, 0, 0.8]) == 2.5 / 4

    def test_share_above_is_strict(self) -> None:
        assert metrics.share_above([0.0, 0.005, 0.006, 0.5], 0.005) == 0.5

    def test_area_errors(self) -> None:
        measured, truth = [0.1, 0.3, 0.0], [0.2, 0.1, 0.0]
        assert metrics.mean_absolute_error(measured, truth) == pytest.approx(0.1)
        assert metrics.bias(measured, truth) == pytest.approx(0.1 / 3)

    def test_correlation(self) -> None:
        assert metrics.correlation([1, 2, 3], [10, 20, 30]) == pytest.approx(1)
        assert metrics.correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
        # Deviations (-1, 0, 1) and (-1, 1, 0): 1 / sqrt(2 * 2).
        assert metrics.correlation([1, 2, 3], [1, 3, 2]) == pytest.approx(0.5)
        assert metrics.correlation([1, 1, 1], [1, 3, 2]) is None

    def test_agreement_includes_the_tolerance(self) -> None:
        assert metrics.agreement([0.5, 0.5, 0.5, 0.0], [0.75, 0.25, 0.9, 0.0], 0.25) == 0.75

    def test_operating_point(self) -> None:
        # Removed: 0.3 (a positive), 0.2 (none) and 0.1 (a positive); 0.05 is kept, as it ties.
        ratios, labels = [0.3, 0.2, 0.1, 0.05, 0.0], [True, False, True, True, True]
        assert metrics.operating_point(ratios, labels, threshold=0.05) == OperatingPoint(
            threshold=0.05, n_positive=4, precision=0.667, recall=0.5, removed=0.6
        )

    def test_operating_point_without_positives_or_removals(self) -> None:
        assert metrics.operating_point([0.0, 0.1], [False, False], threshold=0.5) == OperatingPoint(
            threshold=0.5, n_positive=0, precision=None, recall=None, removed=0.0
        )

    def test_unequal_and_empty_lists_are_refused(self) -> None:
        with pytest.raises(ValueError, match="one length, got 1 and 2"):
            metrics.bias([0.1], [0.1, 0.2])
        with pytest.raises(ValueError, match="at least one ratio"):
            metrics.auc([], [0.1])
        with pytest.raises(ValueError, match="expected 2 labels"):
            metrics.operating_point([0.1, 0.2], [True], threshold=0)


class TestData:
    def test_icdar_labels(self) -> None:
        """A comma in the transcription is text; `###` is text too; blank lines are nothing."""
        text = "0,0,4,0,4,2,0,2,Hello, you\n\n10,10,14,10,14,12,10,12,###\n"
        assert outlined_quads(text) == [
            [(0, 0), (4, 0), (4, 2), (0, 2)],
            [(10, 10), (14, 10), (14, 12), (10, 12)],
        ]

    def test_absent_data_is_named(self, tmp_path: Path) -> None:
        for load in (load_scam, load_icdar, load_images):
            with pytest.raises(UsageError, match=tmp_path.name):
                load(tmp_path, None)


def _draw(path: Path, *boxes: tuple[int, int, int, int]) -> None:
    """A grey 100 x 50 picture in which each (x, y, width, height) is text to `fake`."""
    pixels = np.full((50, 100, 3), 120, dtype=np.uint8)
    for x, y, width, height in boxes:
        pixels[y : y + height, x : x + width] = _MAGENTA
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".webp":
        Image.fromarray(pixels).save(path, lossless=True)
    else:
        Image.fromarray(pixels).save(path, quality=100, subsampling=0)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two pairs, one of which shows text on both sides, and two street photographs."""
    folder = tmp_path / "data"
    _draw(folder / "scam/SCAM/a.webp", (10, 10, 20, 10))
    _draw(folder / "scam/NoSCAM/a.webp")
    _draw(folder / "scam/SCAM/b.webp", (10, 10, 10, 10))
    _draw(folder / "scam/NoSCAM/b.webp", (50, 20, 10, 10))
    _draw(folder / "scam/SCAM/unpaired.webp", (0, 0, 50, 50))
    _draw(folder / "icdar2015/images/img_1.jpg", (8, 8, 24, 16))
    _draw(folder / "icdar2015/images/img_2.jpg")
    labels = folder / "icdar2015/gt"
    labels.mkdir()
    # Two overlapping words, 24 x 8 and 24 x 16: their union is the box that was drawn.
    first = "8,8,32,8,32,16,8,16,one\n8,8,32,8,32,24,8,24,###\n"
    (labels / "img_1.txt").write_text(first, encoding="utf-8-sig")
    (labels / "img_2.txt").write_text("0,0,10,0,10,5,0,5,missed\n", encoding="utf-8-sig")
    return folder


def _config(data: Path, out: Path, /, **chosen: object) -> EvalConfig:
    base: dict[str, object] = {"detectors": ("fake",), "scam_sizes": (384,), "icdar_sizes": (640,)}
    paths = {"out": out / "r.json", "markdown": out / "r.md"}
    return EvalConfig(**({"data": data} | paths | base | chosen))  # type: ignore[arg-type]


class TestEvaluate:
    def test_numbers_of_a_perfect_reader(self, data: Path, tmp_path: Path) -> None:
        results = evaluate(_config(data, tmp_path))
        icdar, scam = results.runs
        assert scam.ratios == [0.04, 0.02, 0.0, 0.02]
        assert scam.metrics == {
            "auc": 0.875,
            "paired_win_rate": 0.75,
            "scam_above_half_percent": 1.0,
            "noscam_above_half_percent": 0.5,
        }
        assert results.truth == pytest.approx([24 * 16 / 5000, 0.01])
        assert icdar.ratios == pytest.approx([24 * 16 / 5000, 0.0])
        assert icdar.metrics["mean_absolute_error"] == pytest.approx(0.005)
        assert icdar.metrics["bias"] == pytest.approx(-0.005)
        # At 0.02 only the first is a positive; at 0 and 0.005 both are, and one is found.
        assert [point.recall for point in icdar.operating_points] == [0.5, 0.5, 1.0]

    def test_what_is_written(self, data: Path, tmp_path: Path) -> None:
        results = evaluate(_config(data, tmp_path, note="The machine was idle."))
        stored = json.loads((tmp_path / "r.json").read_text())
        assert stored["runs"][1]["ratios"] == results.runs[1].ratios
        assert stored["about"]["versions"]["torch"]
        tables = (tmp_path / "r.md").read_text()
        assert "| fake | 384 | – | 0.875 | 0.750 | 1.000 | 0.500 |" in tables
        assert "| fake | 640 | – | icdar2015 | 100% / 50% | 100% / 50% | 100% / 100% |" in tables
        assert stored["about"]["date"] in tables
        assert tables.endswith("The machine was idle.\n")

    def test_limit(self, data: Path, tmp_path: Path) -> None:
        results = evaluate(_config(data, tmp_path, limit=1))
        assert [len(run.ratios) for run in results.runs] == [1, 2]

    def test_precisions_on_plain_images(self, data: Path, tmp_path: Path) -> None:
        (data / "scam/SCAM/broken.jpg").write_bytes(b"no image")
        chosen = {"precisions": ("float32", "bfloat16"), "images": (data / "scam",)}
        results = evaluate(_config(data, tmp_path, **(chosen | {"data": None})))
        (agreement,) = results.agreements
        assert results.runs == []
        assert (agreement.n_images, agreement.n_with_text) == (5, 4)
        assert (agreement.share_within, agreement.largest_difference) == (1.0, 0.0)
        assert "float32 / bfloat16 | 5 | 4 | 100.0% | 0.0000" in (tmp_path / "r.md").read_text()

    @pytest.mark.parametrize(
        ("chosen", "message"),
        [
            ({"limit": 0}, "--limit"),
            ({"images": (Path("x"),)}, "--images needs --precisions"),
            ({"precisions": ("float32", "float16")}, "--precisions needs --images"),
            ({"images": (Path("x"),), "precisions": ("float32",)}, "two names"),
            ({"data": None}, "nothing to measure"),
        ],
    )
    def test_impossible_configurations(
        self, tmp_path: Path, chosen: dict[str, object], message: str
    ) -> None:
        with pytest.raises(UsageError, match=message):
            _config(tmp_path, tmp_path, **chosen)
