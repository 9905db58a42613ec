"""The default detector: equal to EasyOCR where it must be, itself whatever the batch."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lesstext.errors import DetectorError, UsageError
from lesstext.geometry import area_ratios
from lesstext.images import DecodedImage, InputShape, Pixels, decode, resize
from lesstext.shards.fingerprint import sha256_of
from lesstext.text_detection.detectors.computing import Computing
from lesstext.text_detection.detectors.craft import detector as craft
from lesstext.text_detection.detectors.craft import weights as craft_weights
from lesstext.text_detection.detectors.craft.boxes import BoxThresholds, word_boxes
from lesstext.text_detection.detectors.craft.detector import CraftDetector, CraftStages
from lesstext.text_detection.protocol import DetectorSettings, identify_detector, load_detector
from lesstext.text_detection.stages import Layout

Maps = NDArray[np.float32]


@pytest.fixture(scope="module")
def weights() -> Path:
    """CRAFT's weights from the `weights` extra, so that no test downloads anything."""
    models = pytest.importorskip("easyocr_en_models", reason="needs the extra `weights`")
    return Path(models.model_dir()) / craft_weights.FILE_NAME


@pytest.fixture(scope="module")
def detector(weights: Path) -> CraftDetector:
    return _load(weights, precision="float32", size_px=192)


@pytest.fixture(scope="module")
def page() -> Pixels:
    """A photographed page of a book, 384 x 191 pixels."""
    skimage_data = pytest.importorskip("skimage.data")
    return np.ascontiguousarray(np.repeat(skimage_data.page()[..., None], 3, axis=2))


def _load(weights: Path, **chosen: object) -> CraftDetector:
    loaded = load_detector(DetectorSettings(name="craft", weights=str(weights), **chosen))  # type: ignore[arg-type]
    assert isinstance(loaded, CraftDetector)
    return loaded


def _decoded(pixels: Pixels) -> DecodedImage:
    return DecodedImage(pixels=pixels, width=pixels.shape[1], height=pixels.shape[0])


def _canvas(pixels: Pixels, size_px: int) -> Pixels:
    stages = CraftStages(size_px, BoxThresholds())
    layout = stages.layout(_decoded(pixels))
    canvas = np.empty(layout.canvas_shape, dtype=np.uint8)
    stages.draw(_decoded(pixels), layout, canvas)
    return canvas


def _maps(detector: CraftDetector, canvases: list[Pixels]) -> Maps:
    import torch

    with torch.inference_mode():
        return detector.maps(torch.from_numpy(np.stack(canvases))).numpy()


def _assert_same_boxes(region: Maps, affinity: Maps) -> int:
    """Word boxes are those of EasyOCR's own post-processing, in order, to the last bit."""
    from easyocr.craft_utils import getDetBoxes_core

    thresholds = BoxThresholds()
    expected, _, _ = getDetBoxes_core(
        region, affinity, thresholds.text, thresholds.link, thresholds.low_text
    )
    found = word_boxes(region, affinity, thresholds)
    assert len(found.polygons) == len(expected)
    for ours, theirs in zip(found.polygons, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    return len(expected)


def _smooth_noise(seed: int, height: int, width: int, *, blur: float, gain: float) -> Maps:
    """Two maps of random blobs with about the range of CRAFT's scores."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(2, height, width)).astype(np.float32)
    blurred = np.stack([cv2.GaussianBlur(channel, (0, 0), blur) for channel in noise])
    return np.asarray(blurred * np.float32(gain * blur), dtype=np.float32)


class TestNetwork:
    def test_equals_easyocrs_module(self, weights: Path) -> None:
        import torch
        from easyocr.craft import CRAFT

        from lesstext.text_detection.detectors.craft.network import CraftNetwork

        checkpoint = torch.load(weights, map_location="cpu", weights_only=True)
        reference = CRAFT().eval()
        reference.load_state_dict({k.removeprefix("module."): v for k, v in checkpoint.items()})
        image = torch.randn(1, 3, 96, 160, generator=torch.Generator().manual_seed(1))
        with torch.inference_mode():
            expected = reference(image)[0].permute(0, 3, 1, 2)
            found = CraftNetwork(checkpoint).eval()(image)
        assert found.shape == (1, 2, 48, 80)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)

    def test_damaged_checkpoint_is_a_detector_error(self, tmp_path: Path) -> None:
        import torch

        torch.save({"module.basenet.slice1.0.weight": torch.zeros(1)}, tmp_path / "cut.pth")
        with pytest.raises(DetectorError, match="CRAFT cannot be loaded on cpu"):
            CraftDetector(
                id="",
                weights=tmp_path / "cut.pth",
                computing=Computing(runtime="torch", precision="float32", device="cpu", threads=1),
                stages=CraftStages(64, BoxThresholds()),
                batch_size=1,
            )


class TestWordBoxes:
    def test_real_page(self, detector: CraftDetector, page: Pixels) -> None:
        region, affinity = _maps(detector, [_canvas(page, 384)])[0]
        assert _assert_same_boxes(region, affinity) > 30

    def test_real_street_photographs(self, detector: CraftDetector, real_data: Path) -> None:
        n_boxes = 0
        for path in sorted((real_data / "icdar2015" / "images").glob("*.jpg"))[:3]:
            canvas = _canvas(decode(path.read_bytes()).pixels, 640)
            region, affinity = _maps(detector, [canvas])[0]
            n_boxes += _assert_same_boxes(region, affinity)
        assert n_boxes > 0

    @settings(max_examples=60, deadline=None)
    @given(
        seed=st.integers(0, 2**32 - 1),
        height=st.integers(4, 60),
        width=st.integers(4, 60),
        blur=st.floats(0.8, 4),
        gain=st.floats(1, 4),
    )
    def test_random_blobs(
        self, seed: int, height: int, width: int, blur: float, gain: float
    ) -> None:
        region, affinity = _smooth_noise(seed, height, width, blur=blur, gain=gain)
        _assert_same_boxes(region, affinity)

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(
            st.tuples(
                st.integers(0, 38),
                st.integers(0, 38),
                st.integers(1, 20),
                st.integers(1, 20),
                st.sampled_from([0.3, 0.45, 0.75, 1.0]),
                st.booleans(),
            ),
            max_size=8,
        )
    )
    @example([(0, 0, 20, 3, 1.0, False), (20, 0, 20, 3, 1.0, True)])
    @example([(0, 0, 38, 38, 1.0, False)])
    def test_rectangles_up_to_the_edge(
        self, rectangles: list[tuple[int, int, int, int, float, bool]]
    ) -> None:
        maps = np.zeros((2, 40, 40), dtype=np.float32)
        for x, y, width, height, score, is_link in rectangles:
            maps[int(is_link), y : y + height, x : x + width] = score
        _assert_same_boxes(*maps)

    def test_score_is_the_best_of_the_component_clipped_to_one(self) -> None:
        region = np.zeros((20, 40), dtype=np.float32)
        region[4:10, 2:12] = 0.5
        region[6, 5] = 0.75
        region[4:10, 20:30] = 1.2
        found = word_boxes(region, np.zeros_like(region), BoxThresholds())
        np.testing.assert_allclose(found.scores, [0.75, 1.0])

    def test_text_threshold_must_exceed_low_text(self) -> None:
        with pytest.raises(ValueError, match=r"text .* must exceed low_text"):
            BoxThresholds(text=0.3)

    def test_padding_is_no_part_of_the_image(self) -> None:
        """Scores below the image's last row, in the padding, give no region."""
        stages = CraftStages(64, BoxThresholds())
        layout = stages.layout(_decoded(np.zeros((40, 64, 3), dtype=np.uint8)))
        assert layout.canvas_shape == (64, 64, 3)
        maps = np.zeros((2, 32, 32), dtype=np.float32)
        maps[0, 22:30, 4:28] = 1.0
        assert stages.regions(maps, layout).polygons == ()
        maps[0, 4:12, 4:28] = 1.0
        (box,) = stages.regions(maps, layout).polygons
        assert box[:, 1].max() < 40

    def test_width_and_height_each_have_their_factor(self) -> None:
        maps = np.zeros((2, 32, 32), dtype=np.float32)
        maps[0, 4:8, 2:20] = 1.0
        shape = InputShape(height_px=64, width_px=64, padded_height_px=64, padded_width_px=64)
        stages = CraftStages(64, BoxThresholds())
        (small,) = stages.regions(maps, Layout(shape, width=64, height=64)).polygons
        (large,) = stages.regions(maps, Layout(shape, width=640, height=192)).polygons
        assert (large == small * [10, 3]).all()


class TestDetect:
    def test_regions_lie_in_the_frame_of_the_image(self, detector: CraftDetector) -> None:
        image = np.full((240, 400, 3), 200, dtype=np.uint8)
        cv2.putText(image, "LESSTEXT", (60, 150), cv2.FONT_HERSHEY_SIMPLEX, 1.6, (20, 20, 20), 4)
        ink_y, ink_x = np.nonzero(image[..., 0] < 100)
        (found,) = detector.detect([image])
        points = np.concatenate(found.polygons)
        assert points[:, 0].min() == pytest.approx(ink_x.min(), abs=12)
        assert points[:, 0].max() == pytest.approx(ink_x.max(), abs=12)
        assert points[:, 1].min() == pytest.approx(ink_y.min(), abs=12)
        assert points[:, 1].max() == pytest.approx(ink_y.max(), abs=12)

    def test_blank_image_has_no_region(self, detector: CraftDetector) -> None:
        (found,) = detector.detect([np.full((50, 70, 3), 128, dtype=np.uint8)])
        assert found.polygons == () and found.scores.shape == (0,)

    def test_extreme_shapes(self, detector: CraftDetector) -> None:
        thin = np.zeros((1, 5000, 3), dtype=np.uint8)
        dot = np.zeros((1, 1, 3), dtype=np.uint8)
        assert [found.polygons for found in detector.detect([thin, dot])] == [(), ()]

    @pytest.mark.parametrize("precision", ["float32", "bfloat16"])
    def test_result_does_not_depend_on_batch_or_neighbours(
        self, weights: Path, page: Pixels, precision: str
    ) -> None:
        """Bit for bit: maps and regions alone, beside others, and in batches of any size."""
        single = _load(weights, precision=precision, size_px=192)
        batched = _load(weights, precision=precision, size_px=192, options={"batch": "3"})
        images = [page, page[:, ::-1].copy(), page[::-1].copy(), resize(page, 191, 191), page[:96]]
        alone = [single.detect([image])[0] for image in images]
        assert sum(len(found.polygons) for found in alone) > 0
        for together in (single.detect(images), batched.detect(images)):
            for ours, theirs in zip(alone, together, strict=True):
                assert [p.tobytes() for p in ours.polygons] == [
                    p.tobytes() for p in theirs.polygons
                ]
                assert ours.scores.tobytes() == theirs.scores.tobytes()

    def test_bfloat16_agrees_with_float32(self, weights: Path, page: Pixels) -> None:
        ratios = []
        for precision in ("float32", "bfloat16"):
            (found,) = _load(weights, precision=precision, size_px=384).detect([page])
            ratios.append(area_ratios(found.polygons, page.shape[1], page.shape[0]).union)
        assert ratios[0] > 0.1
        assert math.isclose(*ratios, abs_tol=0.01)


class TestIdentify:
    def test_names_weights_size_precision_and_thresholds(self) -> None:
        chosen = DetectorSettings(
            name="craft", size_px=256, precision="float32", options={"text": "0.8", "link": "0.3"}
        )
        assert identify_detector(chosen) == (
            "craft weights=4a5efbfb48b40811 size=256 precision=float32 "
            "text=0.8 link=0.3 low_text=0.4"
        )

    def test_is_the_id_of_the_loaded_detector(self, detector: CraftDetector) -> None:
        assert detector.id == identify_detector(
            DetectorSettings(name="craft", precision="float32", size_px=192)
        )

    def test_batch_and_threads_leave_the_id_alone(self) -> None:
        plain = DetectorSettings(name="craft")
        assert identify_detector(plain) == identify_detector(
            DetectorSettings(name="craft", threads=2, options={"batch": "7"})
        )

    def test_default_precision_is_part_of_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(craft, "cpu_has_bfloat16", lambda: False)
        assert "precision=float32" in identify_detector(DetectorSettings(name="craft"))
        assert "precision=bfloat16" in identify_detector(
            DetectorSettings(name="craft", device="cuda:0")
        )
        monkeypatch.setattr(craft, "cpu_has_bfloat16", lambda: True)
        assert "precision=bfloat16" in identify_detector(DetectorSettings(name="craft"))

    @pytest.mark.parametrize(
        ("chosen", "message"),
        [
            ({"precision": "int8"}, "--precision must be one of float32, bfloat16, float16"),
            ({"options": {"tekst": "0.5"}}, "detector 'craft' has no option tekst; it has: text"),
            ({"options": {"text": "1.5"}}, "threshold text must be within"),
            ({"options": {"link": "high"}}, "high"),
            ({"options": {"text": "0.2"}}, "must exceed low_text"),
        ],
    )
    def test_refuses_what_it_cannot_mean(self, chosen: dict[str, object], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            identify_detector(DetectorSettings(name="craft", **chosen))  # type: ignore[arg-type]

    @pytest.mark.parametrize("batch", ["0", "-1", "many"])
    def test_refuses_an_impossible_batch(self, weights: Path, batch: str) -> None:
        with pytest.raises(UsageError, match="batch must be a whole number above 0"):
            _load(weights, options={"batch": batch})


class TestWeights:
    """The order of places, with a small file that stands for the weights."""

    @pytest.fixture
    def places(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
        """Three places that may hold the file; the last is what EasyOCR's download fills."""
        home, extra = tmp_path / "home", tmp_path / "extra"
        (home / "model").mkdir(parents=True)
        extra.mkdir()
        good = tmp_path / "elsewhere.pth"
        good.write_bytes(b"weights")
        monkeypatch.setattr(craft_weights, "SHA256", sha256_of(good))
        monkeypatch.setenv("EASYOCR_MODULE_PATH", str(home))
        package = SimpleNamespace(model_dir=lambda: str(extra))
        monkeypatch.setitem(sys.modules, "easyocr_en_models", package)
        return SimpleNamespace(
            explicit=good,
            easyocr=home / "model" / craft_weights.FILE_NAME,
            extra=extra / craft_weights.FILE_NAME,
        )

    def test_order(self, places: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
        def download(*_: object, **__: object) -> None:
            places.easyocr.write_bytes(b"weights")

        monkeypatch.setitem(sys.modules, "easyocr", SimpleNamespace(Reader=download))
        places.extra.write_bytes(b"weights")
        places.easyocr.write_bytes(b"weights")
        assert craft_weights.find_weights(str(places.explicit)) == places.explicit
        assert craft_weights.find_weights(None) == places.easyocr
        places.easyocr.unlink()
        assert craft_weights.find_weights(None) == places.extra
        monkeypatch.setitem(sys.modules, "easyocr_en_models", None)
        assert craft_weights.find_weights(None) == places.easyocr
        assert places.easyocr.read_bytes() == b"weights"

    def test_damaged_file_is_named_and_never_used(self, places: SimpleNamespace) -> None:
        places.easyocr.write_bytes(b"damaged")
        places.extra.write_bytes(b"weights")
        with pytest.raises(DetectorError, match=r"SHA-256 .*Delete it or name another") as caught:
            craft_weights.find_weights(None)
        assert str(places.easyocr) in str(caught.value)

    def test_missing_explicit_file_is_not_replaced(self, places: SimpleNamespace) -> None:
        places.easyocr.write_bytes(b"weights")
        with pytest.raises(DetectorError, match=r"absent\.pth does not exist"):
            craft_weights.find_weights("absent.pth")

    def test_failed_download_names_the_fix(
        self, places: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def download(*_: object, **__: object) -> None:
            raise OSError("no network")

        monkeypatch.setitem(sys.modules, "easyocr_en_models", None)
        monkeypatch.setitem(sys.modules, "easyocr", SimpleNamespace(Reader=download))
        with pytest.raises(DetectorError, match=r"no network.*lesstext\[weights\].*--weights"):
            craft_weights.find_weights(None)

    def test_known_sha_is_that_of_the_weights_extra(self, weights: Path) -> None:
        assert craft_weights.find_weights(str(weights)) == weights
