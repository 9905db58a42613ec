"""The default detector: EasyOCR's CRAFT weights, fixed input shapes, word boxes left as they are.

Unlike `easyocr.Reader.detect` it neither merges words into lines nor adds margins, which inflate
areas by a fifth to a third, and it batches images of mixed sizes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lesstext.detection import DetectorSettings, TextRegions, refuse_unknown_options
from lesstext.detectors.craft_boxes import BoxThresholds, word_boxes
from lesstext.detectors.craft_weights import SHA256, find_weights
from lesstext.errors import DetectorError, UsageError
from lesstext.images import InputShape, Pixels, input_shape, letterbox

if TYPE_CHECKING:
    import torch

DEFAULT_SIZE_PX = 384
_MULTIPLE_PX = 32
_MAP_STRIDE = 2  # the score maps have half the input's resolution
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
_FILL = (124, 116, 104)  # the mean colour: zero after normalisation, as a convolution pads
_GPU_BATCH = 32
_OPTIONS = ("text", "link", "low_text", "batch")
_PRECISIONS = ("float32", "bfloat16", "float16")


def identify(settings: DetectorSettings) -> str:
    """Weights, input size, precision and thresholds: all that can change a result."""
    refuse_unknown_options(settings, _OPTIONS)
    size_px, thresholds = settings.size_px or DEFAULT_SIZE_PX, _thresholds(settings)
    return (
        f"craft weights={SHA256[:16]} size={size_px} precision={_precision(settings)} "
        f"text={thresholds.text:g} link={thresholds.link:g} low_text={thresholds.low_text:g}"
    )


def load(settings: DetectorSettings) -> CraftDetector:
    """Load CRAFT as `settings` ask; options `text`, `link`, `low_text` (thresholds) and `batch`."""
    import torch

    torch.set_num_threads(settings.threads)
    return CraftDetector(
        id=identify(settings),
        weights=find_weights(settings.weights),
        device=settings.device,
        precision=_precision(settings),
        size_px=settings.size_px or DEFAULT_SIZE_PX,
        thresholds=_thresholds(settings),
        batch=_batch(settings),
    )


def default_precision(device: str) -> str:
    """bfloat16 on CUDA devices and on processors that compute in it; float32 elsewhere."""
    return "bfloat16" if device.startswith("cuda") or _cpu_has_bfloat16() else "float32"


class CraftDetector:
    """CRAFT at one longer side; see `lesstext.detection.Detector` for the contract."""

    def __init__(
        self,
        *,
        id: str,
        weights: Path,
        device: str,
        precision: str,
        size_px: int,
        thresholds: BoxThresholds,
        batch: int,
    ) -> None:
        import torch

        from lesstext.detectors.craft_network import CraftNetwork

        self.id = id
        self._size_px = size_px
        self._thresholds = thresholds
        self._batch = batch
        self._device = torch.device(device)
        self._dtype: torch.dtype = getattr(torch, precision)
        try:
            checkpoint = torch.load(weights, map_location="cpu", weights_only=True)
            network = CraftNetwork(checkpoint).eval().to_precision(self._dtype)
            self._network = network.to(self._device).to(memory_format=torch.channels_last)
        except (RuntimeError, KeyError) as error:
            raise DetectorError(f"CRAFT cannot be loaded on {device}: {error}") from error

    @property
    def input_px(self) -> int:
        return self._size_px

    def detect(self, images: Sequence[Pixels]) -> list[TextRegions]:
        """Word boxes (4, 2) for each RGB uint8 (H, W, 3) image, in that image's own frame."""
        prepared = [prepare(image, self._size_px) for image in images]
        by_shape: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for i, item in enumerate(prepared):
            by_shape[item.canvas.shape].append(i)
        found: dict[int, TextRegions] = {}
        for members in by_shape.values():
            for start in range(0, len(members), self._batch):
                chunk = members[start : start + self._batch]
                maps = self.score_maps(np.stack([prepared[i].canvas for i in chunk]))
                for i, pair in zip(chunk, maps, strict=True):
                    found[i] = regions_from_maps(pair, prepared[i], self._thresholds)
        return [found[i] for i in range(len(images))]

    def score_maps(self, canvases: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(B, H, W, 3) uint8 canvases to (B, 2, H/2, W/2) float32 scores."""
        import torch

        with torch.inference_mode():
            batch = torch.from_numpy(canvases).to(self._device, non_blocking=True)
            maps: NDArray[np.float32] = self._network(self._normalise(batch)).float().cpu().numpy()
        return maps

    def _normalise(self, batch: torch.Tensor) -> torch.Tensor:
        """Channels-last by construction: NHWC memory, seen as NCHW."""
        import torch

        mean = torch.tensor(_MEAN, device=self._device) * 255
        std = torch.tensor(_STD, device=self._device) * 255
        return ((batch.float() - mean) / std).to(self._dtype).permute(0, 3, 1, 2)


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """A letterboxed uint8 (H, W, 3) canvas, its layout, and the size of the image it came from."""

    canvas: Pixels
    shape: InputShape
    width: int
    height: int


def prepare(image: Pixels, size_px: int) -> PreparedImage:
    """Letterbox one image for the network."""
    height, width = image.shape[:2]
    shape = input_shape(width, height, longer_px=size_px, multiple_px=_MULTIPLE_PX)
    return PreparedImage(letterbox(image, shape, fill=_FILL), shape, width, height)


def regions_from_maps(
    maps: NDArray[np.float32], prepared: PreparedImage, thresholds: BoxThresholds
) -> TextRegions:
    """Word boxes in the image's own frame from its (2, h, w) score maps; padding is cut off."""
    rows = -(-prepared.shape.height_px // _MAP_STRIDE)
    columns = -(-prepared.shape.width_px // _MAP_STRIDE)
    region, affinity = np.ascontiguousarray(maps[:, :rows, :columns])
    boxes = word_boxes(region, affinity, thresholds)
    return boxes.scaled(
        _MAP_STRIDE * prepared.width / prepared.shape.width_px,
        _MAP_STRIDE * prepared.height / prepared.shape.height_px,
    )


def _precision(settings: DetectorSettings) -> str:
    precision = settings.precision or default_precision(settings.device)
    if precision not in _PRECISIONS:
        raise UsageError(f"--precision must be one of {', '.join(_PRECISIONS)}, got {precision!r}")
    return precision


def _thresholds(settings: DetectorSettings) -> BoxThresholds:
    names = [name for name in ("text", "link", "low_text") if name in settings.options]
    try:
        return BoxThresholds(**{name: float(settings.options[name]) for name in names})
    except ValueError as error:
        raise UsageError(f"detector craft: {error}") from error


def _batch(settings: DetectorSettings) -> int:
    default = _GPU_BATCH if settings.device.startswith("cuda") else 1
    text = settings.options.get("batch", str(default))
    if not text.isdigit() or int(text) < 1:
        raise UsageError(f"detector craft: batch must be a whole number above 0, got {text!r}")
    return int(text)


def _cpu_has_bfloat16() -> bool:
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return any(flag in flags for flag in ("avx512_bf16", "amx_bf16", " bf16 "))
