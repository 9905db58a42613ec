"""What results are told with: the commands and commits they came from, versions and machine."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from source_commit import source_commit


def provenance(
    script: str,
    settings: Mapping[str, Any],
    commands: Iterable[Mapping[str, Any]],
    packages: Sequence[str],
) -> dict[str, Any]:
    """How an experiment's results came about; `commands` are the rows of its command logs."""
    return {
        "script": script,
        "commits": list(dict.fromkeys(row["commit"] for row in commands)),
        "report_commit": source_commit(),
        "python": platform.python_version(),
        "packages": installed(packages),
        "processor": _device(),
        "settings": settings,
    }


def command_rows(log: Path) -> list[dict[str, Any]]:
    """The rows of a command log: one for each time that a command was run to its end."""
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


def installed(packages: Iterable[str]) -> dict[str, str]:
    """The versions of those packages that are there: not every experiment needs every one."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _device() -> str:
    """The GPU that an experiment's models were trained on, or else the CPU."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else processor()


def processor() -> str:
    """The CPU's name as its vendor gives it, where the system tells, and its number of cores."""
    name = platform.processor() or platform.machine()
    told = Path("/proc/cpuinfo")
    if told.exists():
        lines = told.read_text(encoding="utf-8", errors="replace").splitlines()
        name = next((line.split(": ")[1] for line in lines if line.startswith("model name")), name)
    return f"{name}, {os.cpu_count()} cores"
