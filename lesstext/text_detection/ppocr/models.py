"""The models in RapidOCR's wheel, found without importing it, and what computes them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, get_args

from lesstext.errors import DetectorError, UsageError
from lesstext.shards.fingerprint import sha256_of
from lesstext.text_detection.processor import OPENVINO_HINTS, cpu_has_bfloat16, openvino_request

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Task = Literal["det", "rec"]
Runtime = Literal["openvino", "onnxruntime"]

INSTALL_RAPIDOCR = "Install it with `pip install 'lesstext[rapidocr]'`."


class Network(Protocol):
    """A loaded model: float32 in, float32 out, one image at a time.

    Batches would gain nothing on a CPU, and with ONNX Runtime an image's result would depend on
    those beside it in the last bits.
    """

    characters: tuple[str, ...]
    """What a recogniser's classes stand for; empty for a detector."""

    def __call__(self, x: NDArray[np.float32]) -> NDArray[np.float32]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Computing:
    """What computes a model, in which precision, with how many threads."""

    runtime: Runtime
    precision: str = "float32"
    threads: int = 1

    def __post_init__(self) -> None:
        if self.runtime not in get_args(Runtime):
            raise UsageError(
                f"runtime must be one of {', '.join(get_args(Runtime))}, got {self.runtime!r}"
            )
        known = OPENVINO_HINTS if self.runtime == "openvino" else ("float32",)
        if self.precision not in known:
            raise UsageError(
                f"{self.runtime} computes these models in {' or '.join(known)}, "
                f"not {self.precision!r}"
            )

    @property
    def id(self) -> str:
        """Names what can change a result; raises DetectorError where it is not installed."""
        if find_spec(self.runtime) is None:
            extra = "fast" if self.runtime == "openvino" else "rapidocr"
            raise DetectorError(
                f"{self.runtime} is not installed. "
                f"Install it with `pip install 'lesstext[{extra}]'`."
            )
        return f"runtime={self.runtime}-{version(self.runtime)} precision={self.precision}"


def computing_for(runtime: str | None, precision: str | None, threads: int) -> Computing:
    """As asked for; else by OpenVINO where it is installed, in bfloat16 where the processor has it.

    Raises UsageError for what there is not.
    """
    chosen = runtime or default_runtime()
    fast = chosen == "openvino" and cpu_has_bfloat16()
    return Computing(
        runtime=chosen,  # type: ignore[arg-type]  # checked there
        precision=precision or ("bfloat16" if fast else "float32"),
        threads=threads,
    )


def default_runtime() -> Runtime:
    """OpenVINO where it is installed, which is faster; else ONNX Runtime."""
    return "openvino" if find_spec("openvino") is not None else "onnxruntime"


@cache
def model_id(task: Task) -> str:
    """The name of the bundled model and the start of its SHA-256."""
    model = bundled_model(task)
    return f"{model.stem}:{sha256_of(model)[:16]}"


def bundled_model(task: Task) -> Path:
    """The one model for detection (`det`) or recognition (`rec`) inside the installed package.

    Raises DetectorError when the package or its model is missing.
    """
    spec = find_spec("rapidocr")
    if spec is None or not spec.submodule_search_locations:
        raise DetectorError(f"RapidOCR is not installed. {INSTALL_RAPIDOCR}")
    folder = Path(spec.submodule_search_locations[0]) / "models"
    models = sorted(folder.glob(f"*_{task}_*.onnx"))
    if len(models) != 1:
        names = ", ".join(model.name for model in models) or "none"
        raise DetectorError(f"RapidOCR: expected one {task} model in {folder}, found {names}")
    return models[0]


def load_network(task: Task, computing: Computing) -> Network:
    """Load a bundled model; raises DetectorError where package, model or runtime is missing."""
    model = bundled_model(task)
    _ = computing.id  # says how to install what is missing
    return _LOADERS[computing.runtime](model, computing)


class _OnnxRuntime:
    def __init__(self, model: Path, computing: Computing) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = computing.threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(model), options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.characters = tuple(metadata.get("character", "").splitlines())

    def __call__(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        output: NDArray[np.float32] = self._session.run(None, {self._input: x})[0]
        return output


class _OpenVino:
    def __init__(self, model: Path, computing: Computing) -> None:
        import openvino

        network = openvino.Core().read_model(str(model))
        self._request = openvino_request(
            network, precision=computing.precision, threads=computing.threads
        )
        path = ["framework", "character"]
        told = str(network.get_rt_info(path).value) if network.has_rt_info(path) else ""
        self.characters = tuple(told.splitlines())

    def __call__(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        output: NDArray[np.float32] = self._request.infer({0: x})[0].copy()
        return output


_LOADERS: dict[Runtime, type[_OnnxRuntime] | type[_OpenVino]] = {
    "onnxruntime": _OnnxRuntime,
    "openvino": _OpenVino,
}
