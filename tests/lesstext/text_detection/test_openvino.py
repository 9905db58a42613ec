"""OpenVINO for detectors: on any core, as torch computes, and refused where it cannot be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from attr_builder.drawing.fonts import load_font, resolve_font
from lesstext.errors import DetectorError, UsageError
from lesstext.images import Pixels
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
