"""What computes a network, in which precision: chosen and named without loading it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Literal, cast, get_args

from lesstext.errors import DetectorError, UsageError
from lesstext.text_detection.processor import OPENVINO_HINTS
from lesstext.text_detection.protocol import DetectorSettings

Runtime = Literal["torch", "openvino"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Computing:
    """A runtime and its precision; `threads` changes no result."""

    runtime: Runtime
    precision: str
    device: str
    threads: int

    @property
    def id(self) -> str:
        """Names what can change a result. Of torch the version is not named."""
        found = f"openvino-{version('openvino')}" if self.runtime == "openvino" else "torch"
        return f"runtime={found} precision={self.precision}"


def choose_computing(settings: DetectorSettings, *, default: Runtime, precision: str) -> Computing:
    """What the option `runtime` asks for, else `default`.

    Raises UsageError for what there is not, DetectorError for what is not installed.
    """
    runtime = settings.options.get("runtime", default)
    name = f"detector {settings.name}"
    if runtime not in get_args(Runtime):
        known = ", ".join(get_args(Runtime))
        raise UsageError(f"{name}: runtime must be one of {known}, got {runtime!r}")
    if runtime == "openvino":
        if settings.device != "cpu":
            raise UsageError(f"{name}: openvino computes on the CPU, not on {settings.device}")
        if precision not in OPENVINO_HINTS:
            raise UsageError(f"{name}: openvino does not compute in {precision}")
        if find_spec("openvino") is None:
            raise DetectorError(
                "openvino is not installed. Install it with `pip install 'lesstext[fast]'`."
            )
    return Computing(
        runtime=cast(Runtime, runtime),
        precision=precision,
        device=settings.device,
        threads=settings.threads,
    )


def fastest_runtime(device: str) -> Runtime:
    """OpenVINO where it is installed and the device is a processor."""
    return "openvino" if device == "cpu" and find_spec("openvino") is not None else "torch"
