"""Any network from canvases to maps on OpenVINO, on processors.

Converting one takes seconds, running it on a photo a fraction of one: what was converted is kept in
the cache of this machine.
"""

from __future__ import annotations

import hashlib
import logging
import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lesstext.storage.cache import CacheError, made_once
from lesstext.storage.scratch import scratch_folder
from lesstext.text_detection.detectors.computing import Computing
from lesstext.text_detection.detectors.maps import MULTIPLE_PX
from lesstext.text_detection.processor import openvino_request

Compute = Callable[[Tensor], Tensor]
"""RGB canvases uint8 (B, H, W, 3) to maps (B, ..., H/2, W/2)."""

_GRAPH, _NUMBERS = "model.xml", "model.bin"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Convertible:
    """A network to convert: `build` makes it, a `Compute` in float32 itself.

    It is the same wherever `weights`, a digest, and the `sources` that define it are.
    """

    name: str
    weights: str
    sources: Sequence[str]
    build: Callable[[], nn.Module]

    @property
    def file_name(self) -> str:
        """What it is called once converted: by all that decides what it then holds."""
        made_from = [self.weights, version("openvino"), version("torch")]
        code = [Path(source).read_bytes() for source in (*self.sources, __file__)]
        digest = hashlib.blake2b(b"\0".join([*(t.encode() for t in made_from), *code]))
        return f"{self.name}-openvino-{digest.hexdigest()[:32]}.zip"


def on_openvino(network: Convertible, computing: Computing) -> Compute:
    """The network in the precision that is asked for; raises what `network.build` raises."""
    request = openvino_request(
        _model(network), precision=computing.precision, threads=computing.threads
    )

    def compute(canvases: Tensor) -> Tensor:
        (maps,) = request.infer({0: np.ascontiguousarray(canvases.numpy())}).values()
        return torch.from_numpy(maps.copy())

    return compute


def _model(network: Convertible) -> Any:
    """From the cache; made anew where it is damaged, and each time where there is no cache."""

    def make(path: Path) -> None:
        _write(_convert(network.build()), path)

    try:
        kept = made_once(network.file_name, make)
        try:
            return _read(kept)
        except (OSError, KeyError, RuntimeError, zipfile.BadZipFile) as error:
            _log.warning("%s is damaged (%s): it is made again", kept, error)
            kept.unlink(missing_ok=True)
            return _read(made_once(network.file_name, make))
    except (CacheError, OSError) as error:
        _log.info("the converted network %s is not kept: %s", network.name, error)
        with scratch_folder() as folder:  # what was written and read differs in the last bits
            make(folder / network.file_name)
            return _read(folder / network.file_name)


def _convert(network: nn.Module) -> Any:
    import openvino

    example = torch.zeros((1, 2 * MULTIPLE_PX, 2 * MULTIPLE_PX, 3), dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about the tracing that OpenVINO relies on
        # OpenVINO would trace it, too, but then twice and check that both agree: half of the time.
        traced = torch.jit.trace(network, example, check_trace=False)  # type: ignore[no-untyped-call]
        return openvino.convert_model(traced, example_input=example, input=[-1, -1, -1, 3])


def _write(model: Any, path: Path) -> None:
    """As one file, of which the archive knows whether it is whole."""
    import openvino

    with scratch_folder() as folder:
        openvino.save_model(model, folder / _GRAPH, compress_to_fp16=False)
        with zipfile.ZipFile(path, "w") as archive:
            for name in (_GRAPH, _NUMBERS):
                archive.write(folder / name, name)


def _read(path: Path) -> Any:
    import openvino

    with zipfile.ZipFile(path) as archive:
        return openvino.Core().read_model(archive.read(_GRAPH), archive.read(_NUMBERS))
