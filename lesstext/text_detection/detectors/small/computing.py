"""What computes the small network, in which precision: chosen and named without loading it."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Literal, cast, get_args

from lesstext.errors import DetectorError, UsageError
from lesstext.text_detection.protocol import DetectorSettings

Runtime = Literal["torch", "openvino"]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Computing:
    """A runtime and its precision; `threads` changes no result."""

    runtime: Runtime
    precision: Precision
    device: str
    threads: int

    @property
    def id(self) -> str:
        """Names what can change a result. Of torch, as for `craft`, the version is not named."""
        found = f"openvino-{version('openvino')}" if self.runtime == "openvino" else "torch"
        return f"runtime={found} precision={self.precision}"


def choose_computing(settings: DetectorSettings) -> Computing:
    """The option `runtime`, else OpenVINO where it is installed and the device is a processor.

    Raises UsageError for what there is not, DetectorError for what is not installed.
    """
    has_openvino = find_spec("openvino") is not None
    default = "openvino" if has_openvino and settings.device == "cpu" else "torch"
    runtime = settings.options.get("runtime", default)
    precision = settings.precision or "float32"
    for name, value, known in (
        ("runtime", runtime, get_args(Runtime)),
        ("precision", precision, get_args(Precision)),
    ):
        if value not in known:
            raise UsageError(
                f"detector small: {name} must be one of {', '.join(known)}, got {value!r}"
            )
    if runtime == "openvino" and settings.device != "cpu":
        raise UsageError(f"detector small: openvino computes on the CPU, not on {settings.device}")
    if runtime == "openvino" and not has_openvino:
        raise DetectorError(
            "openvino is not installed. Install it with `pip install 'lesstext[fast]'`."
        )
    return Computing(
        runtime=cast(Runtime, runtime),
        precision=cast(Precision, precision),
        device=settings.device,
        threads=settings.threads,
    )
