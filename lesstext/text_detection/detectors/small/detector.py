"""`small`: a network of 5 MB that travels in the package, taught by CRAFT.

About a tenth of CRAFT's cost; docs/detectors.md has the figures, docs/model-card.md where the
weights come from, and `scripts/distil.py` makes them anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lesstext.errors import DetectorError, UsageError
from lesstext.images import DecodedImage, Pixels, input_shape, letterbox
from lesstext.shards.fingerprint import sha256_of
from lesstext.text_detection.detectors.small.computing import Computing, choose_computing
from lesstext.text_detection.detectors.small.regions import (
    SURE,
    ProbabilityMap,
    Thresholds,
    text_regions,
)
from lesstext.text_detection.protocol import DetectorSettings, TextRegions, refuse_unknown_options
from lesstext.text_detection.stages import Layout, detect_in_stages

if TYPE_CHECKING:
    import torch

DEFAULT_SIZE_PX = 384
BUNDLED_WEIGHTS = Path(__file__).with_name("weights.safetensors")
_MULTIPLE_PX = 32
_MAP_STRIDE = 2  # that of the network; its module imports torch, which helpers must not
_FILL = (127, 127, 127)  # zero for the network, as a convolution pads
_GPU_BATCH = 32
_OPTIONS = ("low", "seed", "runtime", "batch")


def identify(settings: DetectorSettings) -> str:
    """Weights, runtime, precision, input size and thresholds: all that can change a result."""
    refuse_unknown_options(settings, _OPTIONS)
    thresholds = _thresholds(settings)
    return (
        f"small weights={_digest(_weights(settings))[:16]} {choose_computing(settings).id} "
        f"size={settings.size_px or DEFAULT_SIZE_PX} "
        f"low={thresholds.low:g} seed={thresholds.seed:g}"
    )


def load(settings: DetectorSettings) -> SmallDetector:
    """Load it; options `low`, `seed` (thresholds), `runtime` (torch or openvino) and `batch`."""
    return SmallDetector(
        id=identify(settings),
        weights=_weights(settings),
        computing=choose_computing(settings),
        stages=SmallStages(settings.size_px or DEFAULT_SIZE_PX, _thresholds(settings)),
        batch_size=_batch_size(settings),
    )


@dataclass(frozen=True, slots=True)
class SmallStages:
    """Letterboxing before the network, regions after it."""

    size_px: int
    thresholds: Thresholds

    def layout(self, image: DecodedImage) -> Layout:
        shape = input_shape(
            image.width, image.height, longer_px=self.size_px, multiple_px=_MULTIPLE_PX
        )
        return Layout(shape, image.width, image.height)

    def draw(self, image: DecodedImage, layout: Layout, canvas: Pixels) -> None:
        letterbox(image.pixels, layout.shape, canvas, fill=_FILL)

    def regions(self, output: ProbabilityMap | None, layout: Layout) -> TextRegions:
        """Regions (k, 2); `output` is None where the network saw no text.

        What the map says about the padding is cut off.
        """
        if output is None:
            return TextRegions((), np.zeros(0, dtype=np.float32))
        shape = layout.shape
        rows, columns = -(-shape.height_px // _MAP_STRIDE), -(-shape.width_px // _MAP_STRIDE)
        return text_regions(output[:rows, :columns], self.thresholds).scaled(
            _MAP_STRIDE * layout.width / shape.width_px,
            _MAP_STRIDE * layout.height / shape.height_px,
        )


class SmallDetector:
    """The small network at one longer side; `text_detection.protocol.Detector` is the contract."""

    def __init__(
        self, *, id: str, weights: Path, computing: Computing, stages: SmallStages, batch_size: int
    ) -> None:
        import torch

        from lesstext.text_detection.detectors.small.runtimes import compute_by, load_network

        self.id = id
        self.stages = stages
        self.batch_size = batch_size
        self._device = torch.device(computing.device)
        self._compute = compute_by(load_network(weights), computing)
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
        """Regions (k, 2) for each RGB uint8 (H, W, 3) image, in that image's own frame."""
        return detect_in_stages(self, images)

    def submit(self, canvases: Sequence[Pixels]) -> SmallBatch:
        """Start a batch; on a GPU this returns before the network is done."""
        import torch

        on_gpu = self._device.type == "cuda"
        # cuDNN's choice of kernel follows the batch's shape, so on a GPU every batch is full.
        n_slots = max(self.batch_size, len(canvases)) if on_gpu else len(canvases)
        shape = (n_slots, *canvases[0].shape)
        host = torch.empty(shape, dtype=torch.uint8, pin_memory=on_gpu)
        np.stack(canvases, out=host.numpy()[: len(canvases)])
        with torch.inference_mode():
            # On a processor each canvas goes alone, as for `craft`.
            parts = host.to(self._device, non_blocking=True).split(n_slots if on_gpu else 1)
            maps = torch.cat([self._compute(part) for part in parts])[: len(canvases)]
            has_text = maps.amax(dim=(1, 2)) >= SURE * self.stages.thresholds.seed
        return SmallBatch(maps, has_text, host)


class SmallBatch:
    """Maps on the device; `result` brings over only those that hold text."""

    def __init__(self, maps: torch.Tensor, has_text: torch.Tensor, host: torch.Tensor) -> None:
        self._maps, self._has_text = maps, has_text
        self._host = host  # kept alive while it is copied

    def result(self) -> list[ProbabilityMap | None]:
        """A map (h, w) for each image, None for one without text; waits for the device."""
        flags = self._has_text.cpu().tolist()
        found: NDArray[np.uint8] = self._maps[self._has_text].cpu().numpy()
        travelling = iter(found)
        return [next(travelling) if flag else None for flag in flags]


@cache
def _digest(weights: Path) -> str:
    return sha256_of(weights)


def _weights(settings: DetectorSettings) -> Path:
    """The user's weights or the bundled ones; raises DetectorError where there is no such file."""
    path = Path(settings.weights).expanduser() if settings.weights else BUNDLED_WEIGHTS
    if not path.is_file():
        raise DetectorError(f"weights of small: {path} does not exist")
    return path


def _thresholds(settings: DetectorSettings) -> Thresholds:
    names = [name for name in ("low", "seed") if name in settings.options]
    try:
        return Thresholds(**{name: float(settings.options[name]) for name in names})
    except ValueError as error:
        raise UsageError(f"detector small: {error}") from error


def _batch_size(settings: DetectorSettings) -> int:
    default = _GPU_BATCH if settings.device.startswith("cuda") else 1
    text = settings.options.get("batch", str(default))
    if not text.isdigit() or int(text) < 1:
        raise UsageError(f"detector small: batch must be a whole number above 0, got {text!r}")
    return int(text)
