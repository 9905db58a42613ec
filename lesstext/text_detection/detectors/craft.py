"""The default detector: EasyOCR's CRAFT weights, fixed input shapes, word boxes left as they are.

Unlike `easyocr.Reader.detect` it neither merges words into lines nor adds margins, which inflate
areas by a fifth to a third, and it batches images of mixed sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lesstext.errors import DetectorError, UsageError
from lesstext.images import DecodedImage, Pixels, input_shape, letterbox
from lesstext.text_detection.detectors.craft_boxes import BoxThresholds, word_boxes
from lesstext.text_detection.detectors.craft_weights import SHA256, find_weights
from lesstext.text_detection.processor import cpu_has_bfloat16
from lesstext.text_detection.protocol import DetectorSettings, TextRegions, refuse_unknown_options
from lesstext.text_detection.stages import Layout, detect_in_stages

if TYPE_CHECKING:
    import torch

Maps = NDArray[np.float32]

DEFAULT_SIZE_PX = 384
_MULTIPLE_PX = 32
_MAP_STRIDE = 2  # the score maps have half the input's resolution
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
_FILL = (124, 116, 104)  # the mean colour: zero after normalisation, as a convolution pads
_GPU_BATCH = 16
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
        stages=CraftStages(settings.size_px or DEFAULT_SIZE_PX, _thresholds(settings)),
        batch_size=_batch_size(settings),
    )


def default_precision(device: str) -> str:
    """bfloat16 on CUDA devices and on processors that compute in it; float32 elsewhere."""
    return "bfloat16" if device.startswith("cuda") or cpu_has_bfloat16() else "float32"


@dataclass(frozen=True, slots=True)
class CraftStages:
    """Letterboxing before the network, word boxes after it."""

    size_px: int
    thresholds: BoxThresholds

    def layout(self, image: DecodedImage) -> Layout:
        shape = input_shape(
            image.width, image.height, longer_px=self.size_px, multiple_px=_MULTIPLE_PX
        )
        return Layout(shape, image.width, image.height)

    def draw(self, image: DecodedImage, layout: Layout, canvas: Pixels) -> None:
        letterbox(image.pixels, layout.shape, canvas, fill=_FILL)

    def regions(self, output: Maps | None, layout: Layout) -> TextRegions:
        """Word boxes (4, 2); `output` is None where the network saw no text.

        What the maps say about the padding is cut off.
        """
        if output is None:
            return TextRegions((), np.zeros(0, dtype=np.float32))
        shape = layout.shape
        rows, columns = -(-shape.height_px // _MAP_STRIDE), -(-shape.width_px // _MAP_STRIDE)
        region, affinity = np.ascontiguousarray(output[:, :rows, :columns])
        return word_boxes(region, affinity, self.thresholds).scaled(
            _MAP_STRIDE * layout.width / shape.width_px,
            _MAP_STRIDE * layout.height / shape.height_px,
        )


class CraftDetector:
    """CRAFT at one longer side; the contract is `text_detection.protocol.Detector`."""

    def __init__(
        self,
        *,
        id: str,
        weights: Path,
        device: str,
        precision: str,
        stages: CraftStages,
        batch_size: int,
    ) -> None:
        import torch

        from lesstext.text_detection.detectors.craft_network import CraftNetwork

        self.id = id
        self.stages = stages
        self.batch_size = batch_size
        self._device = torch.device(device)
        self._dtype: torch.dtype = getattr(torch, precision)
        self._mean = torch.tensor(_MEAN, device=self._device) * 255
        self._std = torch.tensor(_STD, device=self._device) * 255
        try:
            checkpoint = torch.load(weights, map_location="cpu", weights_only=True)
            network = CraftNetwork(checkpoint).eval().to_precision(self._dtype)
            self._network = network.to(self._device).to(memory_format=torch.channels_last)
        except (RuntimeError, KeyError) as error:
            raise DetectorError(f"CRAFT cannot be loaded on {device}: {error}") from error
        if self._device.type == "cuda":
            # Equal bytes in every run: cuDNN may neither choose by timing nor sum in any order.
            torch.backends.cudnn.benchmark = False
            torch.backends.cudnn.deterministic = True

    @property
    def input_px(self) -> int:
        return self.stages.size_px

    @property
    def max_canvas_bytes(self) -> int:
        side_px = -(-self.stages.size_px // _MULTIPLE_PX) * _MULTIPLE_PX
        return side_px * side_px * 3

    def detect(self, images: Sequence[Pixels]) -> list[TextRegions]:
        """Word boxes (4, 2) for each RGB uint8 (H, W, 3) image, in that image's own frame."""
        return detect_in_stages(self, images)

    def submit(self, canvases: Sequence[Pixels]) -> CraftBatch:
        """Start a batch; on a GPU this returns before the network is done.

        When the device's memory does not suffice, the batch is halved, for good.
        """
        import torch

        try:
            return self._submit(canvases)
        except torch.OutOfMemoryError:
            if len(canvases) == 1:
                raise
            torch.cuda.empty_cache()
            half = -(-len(canvases) // 2)
            self.batch_size = min(self.batch_size, half)
            first = self.submit(canvases[:half])
            return CraftBatch([*first.parts, *self.submit(canvases[half:]).parts])

    def score_maps(self, canvases: torch.Tensor) -> torch.Tensor:
        """(B, H, W, 3) uint8 on the device to (B, 2, H/2, W/2) float32 scores."""
        # NHWC memory seen as NCHW is channels-last by construction.
        normal = ((canvases.float() - self._mean) / self._std).to(self._dtype)
        scores: torch.Tensor = self._network(normal.permute(0, 3, 1, 2)).float()
        return scores

    def _submit(self, canvases: Sequence[Pixels]) -> CraftBatch:
        import torch

        on_gpu = self._device.type == "cuda"
        # cuDNN's choice of kernel follows the batch's shape, so on a GPU every batch is full.
        n_slots = max(self.batch_size, len(canvases)) if on_gpu else len(canvases)
        height, width = canvases[0].shape[:2]
        host = torch.empty((n_slots, height, width, 3), dtype=torch.uint8, pin_memory=on_gpu)
        np.stack(canvases, out=host.numpy()[: len(canvases)])
        with torch.inference_mode():
            # On a processor each canvas goes alone, which takes no longer: there, too, the
            # kernels may follow the batch, and with them the last bits.
            parts = host.to(self._device, non_blocking=True).split(n_slots if on_gpu else 1)
            maps = torch.cat([self.score_maps(part) for part in parts])[: len(canvases)]
            best = maps[:, 0].amax(dim=(1, 2))
            return CraftBatch([(maps, best >= self.stages.thresholds.text, host)])


class CraftBatch:
    """Maps on the device; `result` brings over only those that hold text."""

    def __init__(self, parts: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]) -> None:
        self.parts = parts  # maps, which of them hold text, and the host buffer kept alive

    def result(self) -> list[Maps | None]:
        """Maps (2, h, w) for each image, None for one without text; waits for the device."""
        found: list[Maps | None] = []
        for maps, has_text, _ in self.parts:
            flags = has_text.cpu().tolist()
            travelling = iter(maps[has_text].cpu().numpy())
            found.extend(next(travelling) if flag else None for flag in flags)
        return found


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


def _batch_size(settings: DetectorSettings) -> int:
    default = _GPU_BATCH if settings.device.startswith("cuda") else 1
    text = settings.options.get("batch", str(default))
    if not text.isdigit() or int(text) < 1:
        raise UsageError(f"detector craft: batch must be a whole number above 0, got {text!r}")
    return int(text)
