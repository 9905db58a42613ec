"""What detectors share whose network turns an image into maps: canvases, batches, cut and scale.

`CanvasDetector` and `MapStages` meet `text_detection.stages`. A `MapDetector` adds its network, and
its stages how regions are found in the maps of one image.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from lesstext.errors import UsageError
from lesstext.images import DecodedImage, Pixels, input_shape, letterbox
from lesstext.text_detection.protocol import DetectorSettings, TextRegions
from lesstext.text_detection.stages import Batch, Layout, detect_in_stages

if TYPE_CHECKING:
    import torch

MULTIPLE_PX = 32
MAP_STRIDE = 2  # maps have half the canvas's resolution


@dataclass(frozen=True, slots=True)
class MapStages(ABC):
    """Letterboxing before the network, regions after it."""

    size_px: int
    thresholds: Any

    fill: ClassVar[tuple[int, int, int]]
    """The colour of the padding: what is zero for the network, as a convolution pads."""

    @abstractmethod
    def find(self, maps: Any) -> TextRegions:
        """Regions in the maps (..., h, w) of one image, in the maps' frame."""

    def layout(self, image: DecodedImage) -> Layout:
        shape = input_shape(
            image.width, image.height, longer_px=self.size_px, multiple_px=MULTIPLE_PX
        )
        return Layout(shape, image.width, image.height)

    def draw(self, image: DecodedImage, layout: Layout, canvas: Pixels) -> None:
        letterbox(image.pixels, layout.shape, canvas, fill=self.fill)

    def regions(self, output: Any, layout: Layout) -> TextRegions:
        """Regions of one image; `output` is None where the network saw no text.

        What the maps say about the padding is cut off.
        """
        if output is None:
            return TextRegions((), np.zeros(0, dtype=np.float32))
        shape = layout.shape
        rows, columns = -(-shape.height_px // MAP_STRIDE), -(-shape.width_px // MAP_STRIDE)
        return self.find(np.ascontiguousarray(output[..., :rows, :columns])).scaled(
            MAP_STRIDE * layout.width / shape.width_px,
            MAP_STRIDE * layout.height / shape.height_px,
        )


class CanvasDetector(ABC):
    """Looks at canvases of one longer side; the contract is `text_detection.protocol.Detector`."""

    def __init__(self, *, id: str, stages: MapStages, device: str, batch_size: int) -> None:
        import torch

        self.id = id
        self.stages = stages
        self.batch_size = batch_size
        self._device = torch.device(device)
        if self._device.type == "cuda":
            # Equal bytes in every run: cuDNN may neither choose by timing nor sum in any order.
            torch.backends.cudnn.benchmark = False
            torch.backends.cudnn.deterministic = True

    @abstractmethod
    def looks(self, canvases: torch.Tensor) -> list[Look]:
        """What is to be told of canvases (B, H, W, 3) uint8 on the device."""

    @property
    def input_px(self) -> int:
        return self.stages.size_px

    @property
    def max_canvas_bytes(self) -> int:
        side_px = -(-self.stages.size_px // MULTIPLE_PX) * MULTIPLE_PX
        return side_px * side_px * 3

    def detect(self, images: Sequence[Pixels]) -> list[TextRegions]:
        """Regions (k, 2) for each RGB uint8 (H, W, 3) image, in that image's own frame."""
        return detect_in_stages(self, images)

    def submit(self, canvases: Sequence[Pixels]) -> Batch:
        """Start a batch; on a GPU this returns before the network is done.

        When the device's memory does not suffice, the batch is halved, for good.
        """
        import torch

        try:
            with torch.inference_mode():
                return self._submit(canvases)
        except torch.OutOfMemoryError:
            if len(canvases) == 1:
                raise
            torch.cuda.empty_cache()
            half = -(-len(canvases) // 2)
            self.batch_size = min(self.batch_size, half)
            return _Halves(self.submit(canvases[:half]), self.submit(canvases[half:]))

    def _submit(self, canvases: Sequence[Pixels]) -> MapBatch:
        import torch

        n = len(canvases)
        shape, on_gpu = (n, *canvases[0].shape), self._device.type == "cuda"
        host = torch.empty(shape, dtype=torch.uint8, pin_memory=on_gpu)
        np.stack(canvases, out=host.numpy())
        looks = self.looks(host.to(self._device, non_blocking=True))
        return MapBatch(n, looks, host)


class MapDetector(CanvasDetector):
    """One network, which makes maps."""

    @abstractmethod
    def maps(self, canvases: torch.Tensor) -> torch.Tensor:
        """(B, H, W, 3) uint8 on the device to (B, ..., H/2, W/2)."""

    @abstractmethod
    def hold_text(self, maps: torch.Tensor) -> torch.Tensor:
        """(B,) bool: whether there can be a region at all, so that other maps need not travel."""

    def looks(self, canvases: torch.Tensor) -> list[Look]:
        return [self.look(canvases, range(len(canvases)), max(self.batch_size, len(canvases)))]

    def look(self, canvases: torch.Tensor, places: Sequence[int], batch_size: int) -> Look:
        """What the network sees on canvases (B, H, W, 3) on the device, those at `places` of what
        was submitted; on a GPU `batch_size` at a time."""
        maps = self._in_batches(canvases, batch_size)
        return Look(places, maps, self.hold_text(maps))

    def _in_batches(self, canvases: torch.Tensor, batch_size: int) -> torch.Tensor:
        """Maps of all canvases.

        cuDNN's choice of kernel follows the batch's shape, so on a GPU every batch is full. With
        some processors, too, the last bits follow the batch: there each canvas goes alone, which
        takes no longer.
        """
        import torch

        n = len(canvases)
        size = batch_size if self._device.type == "cuda" else 1
        if n % size:
            lacking = canvases.new_zeros((-n % size, *canvases.shape[1:]))
            canvases = torch.cat([canvases, lacking])
        return torch.cat([self.maps(some) for some in torch.split(canvases, size)])[:n]


@dataclass(frozen=True, slots=True)
class Look:
    """Maps (k, ...) on the device of the images at `places`, and which of them hold text (k,)."""

    places: Sequence[int]
    maps: torch.Tensor
    has_text: torch.Tensor


class MapBatch:
    """Maps on the device; `result` brings over only those that hold text."""

    def __init__(self, n: int, looks: Sequence[Look], host: torch.Tensor) -> None:
        self._n, self._looks = n, looks
        self._host = host  # kept alive while it is copied

    def result(self) -> list[Any]:
        """The maps of each image, None for one without text; waits for the device."""
        found: list[Any] = [None] * self._n
        for look in self._looks:
            flags = look.has_text.cpu().tolist()
            places = [place for place, flag in zip(look.places, flags, strict=True) if flag]
            for place, maps in zip(places, look.maps[look.has_text].cpu().numpy(), strict=True):
                found[place] = maps
        return found


class _Halves:
    def __init__(self, *halves: Batch) -> None:
        self._halves = halves

    def result(self) -> list[Any]:
        return [maps for half in self._halves for maps in half.result()]


def batch_option(settings: DetectorSettings, on_gpu: int) -> int:
    """The option `batch`, else `on_gpu` on a GPU and 1 elsewhere; raises UsageError."""
    default = on_gpu if settings.device.startswith("cuda") else 1
    text = settings.options.get("batch", str(default))
    if not text.isdigit() or int(text) < 1:
        raise UsageError(
            f"detector {settings.name}: batch must be a whole number above 0, got {text!r}"
        )
    return int(text)
