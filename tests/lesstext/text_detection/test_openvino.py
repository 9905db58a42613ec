"""OpenVINO for detectors: on any core, as torch computes, and refused where it cannot be."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import nn

from attr_builder.drawing.fonts import load_font, resolve_font
from lesstext.errors import DetectorError, UsageError
from lesstext.images import Pixels
from lesstext.text_detection.detectors.computing import Computing
from lesstext.text_detection.detectors.openvino import Convertible, on_openvino
from lesstext.text_detection.protocol import (
    Detector,
    DetectorSettings,
    identify_detector,
    load_detector,
)

pytest.importorskip("openvino", reason="needs the extra `fast`")


def loaded(name: str, runtime: str) -> Detector:
    options = {"runtime": runtime}
    settings = DetectorSettings(name=name, size_px=192, precision="float32", options=options)
    try:
        return load_detector(settings)
    except DetectorError as error:
        pytest.skip(str(error))


def note(text: str) -> Pixels:
    card = Image.new("RGB", (192, 128), (250, 250, 250))
    font = load_font(resolve_font(None).path, 56)
    ImageDraw.Draw(card).text((30, 30), text, fill=(20, 20, 20), font=font)
    return np.asarray(card, dtype=np.uint8)


@pytest.mark.parametrize("name", ["craft", "small", "confirmed", "checked"])
def test_no_process_keeps_a_core_to_itself(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would pin its thread to the first core, and two workers be no faster than one."""
    import openvino

    compiled: list[Any] = []
    compile_model = openvino.Core.compile_model

    def watched(*arguments: Any) -> Any:
        compiled.append(compile_model(*arguments))
        return compiled[-1]

    monkeypatch.setattr(openvino.Core, "compile_model", watched)
    loaded(name, "openvino")
    assert compiled
    assert not any(model.get_property("ENABLE_CPU_PINNING") for model in compiled)


class Mean(nn.Module):
    """The mean of the colours, at half the resolution, plus a number that stands for weights."""

    def __init__(self, added: float) -> None:
        super().__init__()
        self.added = nn.Parameter(torch.tensor(added))

    def forward(self, canvases: torch.Tensor) -> torch.Tensor:
        return canvases.float().mean(dim=3)[:, ::2, ::2] + self.added


@dataclass
class Kept:
    """A network in a cache of its own; `n_built` counts how often it was needed itself."""

    folder: Path
    n_built: int = 0

    def network(self, added: float = 0.5, sources: Sequence[str] = ()) -> Convertible:
        def build() -> nn.Module:
            self.n_built += 1
            return Mean(added).requires_grad_(False)

        return Convertible(name="mean", weights=str(added), sources=sources, build=build)

    def check(self, network: Convertible, expected: float) -> None:
        """It computes, whatever the cache holds."""
        computing = Computing(runtime="openvino", precision="float32", device="cpu", threads=1)
        maps = on_openvino(network, computing)(torch.full((2, 32, 64, 3), 7, dtype=torch.uint8))
        assert maps.shape == (2, 16, 32)
        assert maps.amin() == maps.amax() == expected

    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.iterdir() if path.suffix != ".lock")


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kept:
    monkeypatch.setenv("LESSTEXT_CACHE", str(tmp_path / "cache"))
    return Kept(tmp_path / "cache")


def test_a_network_is_converted_once(kept: Kept) -> None:
    for _ in range(3):
        kept.check(kept.network(), 7.5)
    assert kept.n_built == 1
    assert len(kept.files()) == 1


def test_other_weights_code_or_versions_are_converted_anew(
    kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.check(kept.network(), 7.5)
    kept.check(kept.network(added=1.5), 8.5)
    code = tmp_path / "network.py"
    for text in ("x = 1", "x = 2"):
        code.write_text(text, encoding="utf-8")
        kept.check(kept.network(sources=[str(code)]), 7.5)
    monkeypatch.setattr("lesstext.text_detection.detectors.openvino.version", lambda _: "99")
    kept.check(kept.network(), 7.5)
    assert kept.n_built == len(kept.files()) == 5


@pytest.mark.parametrize("damage", ["cut", "zeroed", "flipped", "empty", "another archive"])
def test_a_damaged_file_of_the_cache_is_made_again(
    kept: Kept, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    kept.check(kept.network(), 7.5)
    (path,) = kept.files()
    whole = path.read_bytes()
    flipped = whole.index(b"<net") + 1
    if damage == "another archive":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("something", b"else")
    else:
        path.write_bytes(
            {
                "cut": whole[: len(whole) // 2],
                "zeroed": bytes(len(whole)),
                "flipped": whole[:flipped] + b"x" + whole[flipped + 1 :],
                "empty": b"",
            }[damage]
        )
    for _ in range(2):
        kept.check(kept.network(), 7.5)
    assert kept.n_built == 2
    assert f"{path} is damaged" in caplog.text
    assert kept.files() == [path]


def test_no_cache_is_needed(kept: Kept) -> None:
    kept.folder.write_text("a file where the folder would be", encoding="utf-8")
    for _ in range(2):
        kept.check(kept.network(), 7.5)
    assert kept.n_built == 2
    assert kept.folder.is_file()


@pytest.mark.parametrize("name", ["craft", "confirmed"])
def test_agrees_with_torch(name: str) -> None:
    ours, theirs = (loaded(name, runtime) for runtime in ("openvino", "torch"))
    for text, n_words in (("", 0), ("stop", 1)):
        (found,), (expected,) = ours.detect([note(text)]), theirs.detect([note(text)])
        assert len(found.polygons) == len(expected.polygons) == n_words
        for polygon, other in zip(found.polygons, expected.polygons, strict=True):
            assert np.abs(polygon - other).max() < 0.5


def test_of_craft_it_is_asked_for_and_named() -> None:
    assert "runtime" not in identify_detector(DetectorSettings(name="craft"))
    chosen = DetectorSettings(name="craft", options={"runtime": "openvino"})
    assert "runtime=openvino-" in identify_detector(chosen)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "cuda:0"}, "openvino computes on the CPU, not on cuda:0"),
        ({"precision": "float16"}, "openvino does not compute in float16"),
    ],
)
def test_what_it_cannot_do_is_refused(settings: dict[str, str], message: str) -> None:
    chosen = DetectorSettings(name="craft", options={"runtime": "openvino"}, **settings)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=message):
        identify_detector(chosen)
