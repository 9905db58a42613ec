"""What the processor of this machine can compute in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

OPENVINO_HINTS = {"float32": "f32", "bfloat16": "bf16"}


def cpu_has_bfloat16() -> bool:
    """Whether it has instructions for bfloat16; where that cannot be told, it has none."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return any(flag in flags for flag in ("avx512_bf16", "amx_bf16", " bf16 "))


def openvino_request(model: Any, *, precision: str, threads: int) -> Any:
    """An OpenVINO model ready to run on so many threads of any core, in float32 or bfloat16."""
    import openvino

    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # or all worker processes share the first core
        "INFERENCE_PRECISION_HINT": OPENVINO_HINTS[precision],
    }
    return openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
