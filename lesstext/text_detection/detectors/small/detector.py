"""`small`: a network of 5 MB that travels in the package, taught by CRAFT.

About a tenth of CRAFT's cost; docs/detectors.md has the figures, docs/model-card.md where the
weights come from, and `scripts/distil.py` makes them anew.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from lesstext.errors import DetectorError, UsageError
from lesstext.shards.fingerprint import sha256_of
from lesstext.text_detection.detectors.computing import (
    Computing,
    choose_computing,
    fastest_runtime,
)
from lesstext.text_detection.detectors.maps import MapDetector, MapStages, batch_option
from lesstext.text_detection.detectors.small.regions import (
    SURE,
    ProbabilityMap,
    Thresholds,
    text_regions,
)
from lesstext.text_detection.protocol import DetectorSettings, TextRegions, refuse_unknown_options

if TYPE_CHECKING:
    import torch

DEFAULT_SIZE_PX = 384
BUNDLED_WEIGHTS = Path(__file__).with_name("weights.safetensors")
_GPU_BATCH = 32
_PRECISIONS = ("float32", "bfloat16")
_OPTIONS = ("low", "seed", "runtime", "batch")


def identify(settings: DetectorSettings) -> str:
    """Weights, runtime, precision, input size and thresholds: all that can change a result."""
    refuse_unknown_options(settings, _OPTIONS)
    thresholds = _thresholds(settings)
    return (
        f"small weights={_digest(_weights(settings))[:16]} {_computing(settings).id} "
        f"size={settings.size_px or DEFAULT_SIZE_PX} "
        f"low={thresholds.low:g} seed={thresholds.seed:g}"
    )


def load(settings: DetectorSettings) -> SmallDetector:
    """Load it; options `low`, `seed` (thresholds), `runtime` (torch or openvino) and `batch`."""
    return SmallDetector(
        id=identify(settings),
        weights=_weights(settings),
        computing=_computing(settings),
        stages=SmallStages(settings.size_px or DEFAULT_SIZE_PX, _thresholds(settings)),
        batch_size=batch_option(settings, _GPU_BATCH),
    )


class SmallStages(MapStages):
    """Regions (k, 2) from a map of probabilities; `thresholds` are `Thresholds`."""

    __slots__ = ()
    fill = (127, 127, 127)

    def find(self, maps: ProbabilityMap) -> TextRegions:
        return text_regions(maps, self.thresholds)


class SmallDetector(MapDetector):
    """The small network at one longer side, on one runtime."""

    def __init__(
        self, *, id: str, weights: Path, computing: Computing, stages: SmallStages, batch_size: int
    ) -> None:
        from lesstext.text_detection.detectors.small.runtimes import compute_by

        super().__init__(id=id, stages=stages, device=computing.device, batch_size=batch_size)
        self._compute = compute_by(weights, computing)

    def maps(self, canvases: torch.Tensor) -> torch.Tensor:
        """(B, H, W, 3) uint8 on the device to probabilities uint8 (B, H/2, W/2), 255 for 1."""
        return self._compute(canvases)

    def hold_text(self, maps: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = maps.amax(dim=(1, 2)) >= SURE * self.stages.thresholds.seed
        return found


@cache
def _digest(weights: Path) -> str:
    return sha256_of(weights)


def _weights(settings: DetectorSettings) -> Path:
    """The user's weights or the bundled ones; raises DetectorError where there is no such file."""
    path = Path(settings.weights).expanduser() if settings.weights else BUNDLED_WEIGHTS
    if not path.is_file():
        raise DetectorError(f"weights of small: {path} does not exist")
    return path


def _computing(settings: DetectorSettings) -> Computing:
    precision = settings.precision or "float32"
    if precision not in _PRECISIONS:
        raise UsageError(
            f"detector small: precision must be one of {', '.join(_PRECISIONS)}, got {precision!r}"
        )
    return choose_computing(settings, default=fastest_runtime(settings.device), precision=precision)


def _thresholds(settings: DetectorSettings) -> Thresholds:
    names = [name for name in ("low", "seed") if name in settings.options]
    try:
        return Thresholds(**{name: float(settings.options[name]) for name in names})
    except ValueError as error:
        raise UsageError(f"detector small: {error}") from error
