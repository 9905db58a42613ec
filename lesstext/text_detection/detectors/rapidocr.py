"""RapidOCR's text detection (PP-OCR on ONNX Runtime) with the model that its wheel carries.

Fast, but on photographs it fires on blank boards and labels: see the table in the README.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from lesstext.errors import DetectorError, UsageError
from lesstext.images import Pixels
from lesstext.shards.fingerprint import sha256_of
from lesstext.text_detection.ppocr.models import INSTALL_RAPIDOCR, bundled_model
from lesstext.text_detection.protocol import DetectorSettings, TextRegions, refuse_unknown_options

_CUDA = "CUDAExecutionProvider"


def identify(settings: DetectorSettings) -> str:
    """Package version, model and its SHA-256, input size; all else is RapidOCR's default.

    Raises DetectorError when the package or its model is missing.
    """
    refuse_unknown_options(settings, ())
    if settings.precision not in (None, "float32"):
        raise UsageError(f"detector rapidocr computes in float32 only, not {settings.precision!r}")
    if settings.weights is not None:
        raise UsageError("detector rapidocr uses the model in its own package: omit --weights")
    model = bundled_model("det")
    size = "default" if settings.size_px is None else str(settings.size_px)
    return (
        f"rapidocr version={version('rapidocr')} model={model.stem} "
        f"weights={sha256_of(model)[:16]} size={size} precision=float32"
    )


def load(settings: DetectorSettings) -> RapidOcrDetector:
    """Load RapidOCR for detection alone; it has no options.

    With `size_px`, images whose longer side is larger are reduced to it; without, RapidOCR
    enlarges those whose shorter side is below its default.
    """
    detector_id, model = identify(settings), bundled_model("det")
    if find_spec("onnxruntime") is None:
        raise DetectorError(f"rapidocr needs ONNX Runtime. {INSTALL_RAPIDOCR}")
    import rapidocr

    params: dict[str, Any] = {
        "Global.log_level": "error",  # it warns of every image without text
        "Det.model_path": str(model),
        "EngineConfig.onnxruntime.intra_op_num_threads": settings.threads,
        "EngineConfig.onnxruntime.inter_op_num_threads": 1,
    }
    if settings.size_px is not None:
        params |= {"Det.limit_side_len": settings.size_px, "Det.limit_type": "max"}
    if settings.device != "cpu":
        params |= _cuda_params(settings.device, model)
    return RapidOcrDetector(detector_id, rapidocr.RapidOCR(params=params))


class RapidOcrDetector:
    """RapidOCR one image at a time; the contract is `text_detection.protocol.Detector`."""

    input_px: int | None = None  # boxes are rounded to the pixels of the image that it is given

    def __init__(self, id: str, engine: Any) -> None:
        self.id = id
        self._engine = engine

    def detect(self, images: Sequence[Pixels]) -> list[TextRegions]:
        """Text lines as quads (4, 2)."""
        return [self._detect_one(image) for image in images]

    def _detect_one(self, image: Pixels) -> TextRegions:
        bgr = np.ascontiguousarray(image[..., ::-1])
        found = self._engine(bgr, use_det=True, use_cls=False, use_rec=False)
        if found.boxes is None:
            return TextRegions((), np.zeros(0, dtype=np.float32))
        polygons = tuple(np.asarray(box, dtype=np.float32) for box in found.boxes)
        return TextRegions(polygons, np.clip(np.asarray(found.scores, dtype=np.float32), 0, 1))


def _cuda_params(device: str, model: Path) -> dict[str, Any]:
    """Parameters for one GPU, once a session there has proved that it does not fall back."""
    import onnxruntime

    index = int(device.partition(":")[2] or 0)
    available = onnxruntime.get_available_providers()
    if _CUDA in available:
        session = onnxruntime.InferenceSession(
            str(model), providers=[(_CUDA, {"device_id": index}), "CPUExecutionProvider"]
        )
        available = session.get_providers()
    if _CUDA not in available:
        raise DetectorError(
            f"rapidocr cannot run on {device}: ONNX Runtime offers {', '.join(available)} here. "
            "Install onnxruntime-gpu in place of onnxruntime, or use --device cpu."
        )
    return {
        "EngineConfig.onnxruntime.use_cuda": True,
        "EngineConfig.onnxruntime.cuda_ep_cfg.device_id": index,
    }
