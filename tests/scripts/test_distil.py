"""The recipe of the small detector, from photos to weights that load."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from distil import SIZES, distil, starting_from
from distillation.composites import read_examples
from distillation.fonts import find_fonts
from distillation.photos import find_photos
from distillation.scenes import IGNORED, TEXT, examples
from distillation.teacher import PhotoLabel
from distillation.training import loss_of

from lesstext.errors import UsageError
from lesstext.text_detection.protocol import DetectorSettings, load_detector

NO_LABEL = PhotoLabel([], [])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of photos of nothing: ramps of colour, without text."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(3):
        ramp = np.linspace(40, 200, 160 * 120 * 3).reshape(120, 160, 3) + 10 * index
        cv2.imwrite(str(folder / f"{index}.png"), ramp.astype(np.uint8))
    return folder


def test_one_command_makes_weights_that_load(photos: Path, tmp_path: Path) -> None:
    pytest.importorskip("easyocr_en_models", reason="the teacher needs the extra `weights`")
    torch.manual_seed(1)
    threads = torch.get_num_threads()
    out = tmp_path / "out"
    weights = distil([photos], out, None, SIZES["smoke"], "bundled", threads=threads, seed=0)
    detector = load_detector(
        DetectorSettings(
            name="small", weights=str(weights), size_px=128, options={"runtime": "torch"}
        )
    )
    assert len(detector.detect([np.zeros((64, 64, 3), dtype=np.uint8)])) == 1
    made = {path: path.stat().st_mtime_ns for path in (out / "composites").iterdir()}
    assert len(read_examples(out / "composites" / "00000.parquet")) == SIZES["smoke"].per_file
    first = weights.read_bytes()
    distil([photos], out, None, SIZES["smoke"], "bundled", threads=threads, seed=0)
    assert {path: path.stat().st_mtime_ns for path in (out / "composites").iterdir()} == made
    assert weights.read_bytes() == first


def test_pairs_differ_in_their_writing_only() -> None:
    photo = np.full((320, 320, 3), 128, dtype=np.uint8)
    n_pairs = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        made = list(examples(photo, NO_LABEL, find_fonts(None), photo, rng))
        if len(made) == 2:
            blank, written = made
            assert not (blank.target == TEXT).any()
            where = cv2.resize(written.target, (320, 320)) != 0
            apart = np.abs(blank.image.astype(int) - written.image).max(axis=2)
            assert apart[~where].mean() < 3
            n_pairs += (written.target == TEXT).any()
    assert n_pairs >= 4


def test_labels_are_where_the_window_puts_them() -> None:
    box = np.array([(0.25, 0.25), (0.75, 0.25), (0.75, 0.5), (0.25, 0.5)], dtype=np.float32)
    photo = np.zeros((400, 400, 3), dtype=np.uint8)
    photo[100:200, 100:300] = 255
    found = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        made = list(examples(photo, PhotoLabel([box], []), find_fonts(None), photo, rng))
        if len(made) == 1 and (made[0].target == TEXT).any():
            bright = made[0].image[::2, ::2].mean(axis=2)
            inside = made[0].target == TEXT
            found += bright[inside].mean() > bright[made[0].target == 0].mean()
    assert found >= 5


def test_the_loss_prefers_the_truth_and_ignores_what_it_must() -> None:
    target = torch.zeros((1, 20, 20), dtype=torch.uint8)
    target[0, 5:10, 5:15] = TEXT
    target[0, 15:] = IGNORED
    right = torch.where(target == TEXT, 8.0, -8.0)[:, None]
    wrong = -right
    assert loss_of(right, target) < 0.1 < 1 < loss_of(wrong, target)
    elsewhere = right.clone()
    elsewhere[0, 0, 15:] = 8
    torch.testing.assert_close(loss_of(elsewhere, target), loss_of(right, target))


def test_photos_are_found_once_and_missing_ones_are_said(photos: Path, tmp_path: Path) -> None:
    (photos / "copy.png").write_bytes((photos / "0.png").read_bytes())
    assert len(find_photos([photos])) == 3
    with pytest.raises(UsageError, match="no photos in"):
        find_photos([tmp_path / "nothing"])
    with pytest.raises(UsageError, match="--from must be"):
        starting_from("scratch")


def test_ppocrs_weights_give_ppocrs_answer() -> None:
    """The converted network marks the same word as the original, at half the resolution."""
    pytest.importorskip("rapidocr", reason="needs the extra `rapidocr`")
    pytest.importorskip("onnx", reason="needs `onnx`")
    from lesstext.text_detection.ppocr.models import Computing, load_network

    canvas = np.full((96, 160, 3), 200, dtype=np.uint8)
    cv2.putText(canvas, "Hello", (20, 60), 0, 1.4, (20, 30, 90), 3)
    x = (canvas.astype(np.float32) / 127.5 - 1).transpose(2, 0, 1)[None]
    original = load_network("det", Computing(runtime="onnxruntime"))(x)[0, 0]
    halved = original.reshape(48, 2, 80, 2).mean(axis=(1, 3))
    with torch.inference_mode():
        ours = torch.sigmoid(starting_from("ppocr").eval()(torch.from_numpy(x[:, ::-1].copy())))
    assert halved.max() > 0.9
    assert np.corrcoef(ours[0, 0].numpy().ravel(), halved.ravel())[0, 1] > 0.99
