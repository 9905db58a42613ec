"""The adapters `easyocr` and `rapidocr`: thin, honest about what they run, and offline."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from lesstext.errors import DetectorError, UsageError
from lesstext.geometry import area_ratios
from lesstext.images import Pixels
from lesstext.shards.fingerprint import sha256_of
from lesstext.text_detection.detectors.craft import weights as craft_weights
from lesstext.text_detection.ppocr import models as ppocr_models
from lesstext.text_detection.ppocr.models import bundled_model
from lesstext.text_detection.protocol import (
    Detector,
    DetectorSettings,
    identify_detector,
    load_detector,
)


@pytest.fixture(scope="module")
def sign() -> Pixels:
    """Two lines of dark text, one level and one slanted, on a light 480 x 320 board."""
    image = np.full((320, 480, 3), 225, dtype=np.uint8)
    cv2.putText(image, "OPEN TODAY", (40, 80), cv2.FONT_HERSHEY_SIMPLEX, 1.8, (30, 30, 90), 4)
    slanted = np.full_like(image, 225)
    cv2.putText(slanted, "CLOSED", (120, 180), cv2.FONT_HERSHEY_SIMPLEX, 1.8, (30, 30, 90), 4)
    turn = cv2.getRotationMatrix2D((240, 160), 25, 1)
    slanted = cv2.warpAffine(slanted, turn, (480, 320), borderValue=(225, 225, 225))  # type: ignore[assignment]
    return np.minimum(image, np.roll(slanted, 60, axis=0))


@pytest.fixture(scope="module")
def weights() -> Path:
    models = pytest.importorskip("easyocr_en_models", reason="needs the extra `weights`")
    return Path(models.model_dir()) / craft_weights.FILE_NAME


@pytest.fixture(scope="module")
def own_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that EasyOCR would use of its own accord; it must stay untouched."""
    module = pytest.importorskip("easyocr.easyocr")
    folder = tmp_path_factory.mktemp("home") / "EasyOCR"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MODULE_PATH", str(folder))
        yield folder


@pytest.fixture(scope="module")
def easyocr_detector(weights: Path, own_folder: Path) -> Detector:
    return load_detector(DetectorSettings(name="easyocr", size_px=320, weights=str(weights)))


@pytest.fixture(scope="module")
def rapidocr_detector() -> Detector:
    pytest.importorskip("rapidocr", reason="needs the extra `rapidocr`")
    pytest.importorskip("onnxruntime", reason="needs the extra `rapidocr`")
    return load_detector(DetectorSettings(name="rapidocr", size_px=320))


def _ratio(detector: Detector, image: Pixels) -> float:
    (found,) = detector.detect([image])
    return area_ratios(found.polygons, image.shape[1], image.shape[0]).union


class TestEasyOcr:
    def test_is_reader_detect_untouched(
        self, easyocr_detector: Detector, sign: Pixels, weights: Path, tmp_path: Path
    ) -> None:
        import easyocr

        reader = easyocr.Reader(
            ["en"],
            gpu=False,
            model_storage_directory=str(weights.parent),
            user_network_directory=str(tmp_path),
            download_enabled=False,
            recognizer=False,
            verbose=False,
        )
        (upright,), (free,) = reader.detect(sign, canvas_size=320)
        boxes = [[(x0, y0), (x1, y0), (x1, y1), (x0, y1)] for x0, x1, y0, y1 in upright]
        assert boxes and free, "the picture must show both kinds of line"
        (found,) = easyocr_detector.detect([sign])
        expected = [np.array(box, dtype=np.float32) for box in [*boxes, *free]]
        assert len(found.polygons) == len(expected)
        for ours, theirs in zip(found.polygons, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(found.scores, np.ones(len(expected)))

    def test_loading_leaves_no_traces(
        self, weights: Path, own_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Neither EasyOCR's folder, nor temporary files, nor the import path change."""
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        search_path, beside = list(sys.path), sorted(weights.parent.iterdir())
        load_detector(DetectorSettings(name="easyocr", weights=str(weights)))
        assert not own_folder.exists()
        assert list(tmp_path.iterdir()) == []
        assert sys.path == search_path
        assert sorted(weights.parent.iterdir()) == beside

    def test_merges_and_pads_so_its_areas_are_larger_than_crafts(
        self, easyocr_detector: Detector, sign: Pixels, weights: Path
    ) -> None:
        craft = load_detector(
            DetectorSettings(size_px=320, precision="float32", weights=str(weights))
        )
        bare = _ratio(craft, sign)
        assert 0.05 < bare < _ratio(easyocr_detector, sign) < 2 * bare

    def test_id(self, easyocr_detector: Detector) -> None:
        assert easyocr_detector.id == identify_detector(
            DetectorSettings(name="easyocr", size_px=320)
        )
        assert easyocr_detector.id == (
            f"easyocr version={version('easyocr')} weights=4a5efbfb48b40811 "
            "size=320 precision=float32"
        )
        assert "size=2560" in identify_detector(DetectorSettings(name="easyocr"))

    def test_wrong_weights_are_never_loaded(self, tmp_path: Path) -> None:
        """EasyOCR unpickles freely, so a file that is not the known one must not reach it."""
        (tmp_path / "other.pth").write_bytes(b"os.system")
        chosen = DetectorSettings(name="easyocr", weights=str(tmp_path / "other.pth"))
        with pytest.raises(DetectorError, match="SHA-256"):
            load_detector(chosen)

    @pytest.mark.parametrize(
        ("chosen", "message"),
        [
            ({"precision": "bfloat16"}, "float32 only"),
            ({"options": {"mag_ratio": "2"}}, "has no option mag_ratio; it has: none"),
        ],
    )
    def test_refuses_what_it_cannot_do(self, chosen: dict[str, Any], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            identify_detector(DetectorSettings(name="easyocr", **chosen))


class TestRapidOcr:
    def test_finds_both_lines(self, rapidocr_detector: Detector, sign: Pixels) -> None:
        (found,) = rapidocr_detector.detect([sign])
        assert len(found.polygons) >= 2
        assert all(polygon.shape == (4, 2) for polygon in found.polygons)
        assert (found.scores > 0.3).all() and (found.scores <= 1).all()
        assert 0.05 < _ratio(rapidocr_detector, sign) < 0.5

    def test_regions_lie_in_the_frame_of_the_image(self, rapidocr_detector: Detector) -> None:
        image = np.full((300, 900, 3), 225, dtype=np.uint8)
        cv2.putText(image, "EXIT", (600, 200), cv2.FONT_HERSHEY_SIMPLEX, 3, (30, 30, 90), 8)
        (found,) = rapidocr_detector.detect([image])
        ys, xs = np.nonzero(image[..., 0] < 100)
        points = np.concatenate(found.polygons)
        assert points[:, 0].min() == pytest.approx(xs.min(), abs=30)
        assert points[:, 0].max() == pytest.approx(xs.max(), abs=30)
        assert points[:, 1].min() == pytest.approx(ys.min(), abs=30)
        assert points[:, 1].max() == pytest.approx(ys.max(), abs=30)

    def test_image_without_text_has_no_region(self, rapidocr_detector: Detector) -> None:
        (found,) = rapidocr_detector.detect([np.zeros((64, 96, 3), dtype=np.uint8)])
        assert found.polygons == () and found.scores.shape == (0,)

    def test_does_not_depend_on_neighbours(self, rapidocr_detector: Detector, sign: Pixels) -> None:
        turned = np.ascontiguousarray(sign[::-1])
        (alone,) = rapidocr_detector.detect([sign])
        _, together = rapidocr_detector.detect([turned, sign])
        assert [p.tobytes() for p in alone.polygons] == [p.tobytes() for p in together.polygons]

    def test_id_names_package_model_and_settings(self, rapidocr_detector: Detector) -> None:
        model = bundled_model("det")
        assert rapidocr_detector.id == identify_detector(
            DetectorSettings(name="rapidocr", size_px=320)
        )
        assert rapidocr_detector.id == (
            f"rapidocr version={version('rapidocr')} model={model.stem} "
            f"weights={sha256_of(model)[:16]} size=320 precision=float32"
        )
        assert "size=default" in identify_detector(DetectorSettings(name="rapidocr"))

    def test_absent_gpu_is_an_error_not_a_fallback(self, rapidocr_detector: Detector) -> None:
        import onnxruntime

        if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            pytest.skip("ONNX Runtime has CUDA here")
        with pytest.raises(DetectorError, match=r"cannot run on cuda:0.*onnxruntime-gpu"):
            load_detector(DetectorSettings(name="rapidocr", device="cuda:0"))

    @pytest.mark.parametrize(
        ("chosen", "message"),
        [
            ({"precision": "float16"}, "float32 only"),
            ({"weights": "model.onnx"}, "omit --weights"),
            ({"options": {"unclip": "2"}}, "has no option unclip"),
        ],
    )
    def test_refuses_what_it_cannot_do(self, chosen: dict[str, Any], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            identify_detector(DetectorSettings(name="rapidocr", **chosen))

    def test_missing_package_names_the_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ppocr_models, "find_spec", lambda name: None)
        with pytest.raises(DetectorError, match=r"lesstext\[rapidocr\]"):
            identify_detector(DetectorSettings(name="rapidocr"))

    def test_another_models_folder_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A package that ships no detection model, or several, is never guessed at."""
        spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
        monkeypatch.setattr(ppocr_models, "find_spec", lambda name: spec)
        with pytest.raises(DetectorError, match=r"expected one det model .* found none"):
            bundled_model("det")
        (tmp_path / "models").mkdir()
        for name in ("a_det_small.onnx", "b_det_large.onnx"):
            (tmp_path / "models" / name).touch()
        with pytest.raises(DetectorError, match=r"found a_det_small\.onnx, b_det_large\.onnx"):
            bundled_model("det")
