"""What the processor of this machine can compute in."""

from __future__ import annotations

from pathlib import Path


def cpu_has_bfloat16() -> bool:
    """Whether it has instructions for bfloat16; where that cannot be told, it has none."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return any(flag in flags for flag in ("avx512_bf16", "amx_bf16", " bf16 "))
