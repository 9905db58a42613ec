"""Runs the parts one after another, each in a process of its own with a time of its own.

A part that fails, hangs or breaks the GPU's context takes none of the others with it, and what it
had found until then is kept.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gpu.bench import Bench, Figures, Skipped


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that is measured, and the seconds that it may take."""

    name: str
    measure: Callable[[Bench], Figures]
    budget_s: float


def run_parts(
    parts: Sequence[Part], bench: Bench, total_s: float, tell: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """What each part found: `status` (ok, skipped, failed, out of time), `reason`, `seconds`,
    `figures`."""
    end = time.monotonic() + total_s
    found: dict[str, dict[str, Any]] = {}
    for part in parts:
        allowed_s = min(part.budget_s, end - time.monotonic())
        if allowed_s < 1:
            found[part.name] = _result("skipped", "no time was left", 0.0, {})
        else:
            found[part.name] = _run(part, replace(bench, seconds=allowed_s))
        one = found[part.name]
        tell(f"{part.name}: {one['status']} ({one['seconds']:.0f} s) {one['reason']}".rstrip())
    return found


def _run(part: Part, bench: Bench) -> dict[str, Any]:
    """One part, in a forked process: it has what the parent imported, but no CUDA context."""
    work = bench.folder(f"part-{part.name.replace(' ', '-')}")
    notes = work / "notes.json"
    start = time.monotonic()
    process = multiprocessing.get_context("fork").Process(
        target=_measure, args=(part, bench, notes)
    )
    process.start()
    process.join(bench.seconds)
    late = process.is_alive()
    if process.pid is not None:
        _end_group(process.pid)
    process.join()
    seconds = time.monotonic() - start
    noted = _read(notes)
    if late:
        reason = f"its {bench.seconds:.0f} s were over"
        return _result("out of time", reason, seconds, noted["figures"])
    if noted["status"] == "running":
        reason = f"its process ended with {process.exitcode}"
        return _result("failed", reason, seconds, noted["figures"])
    return _result(noted["status"], noted["reason"], seconds, noted["figures"])


def _measure(part: Part, bench: Bench, notes: Path) -> None:
    os.setsid()  # helpers and data workers end with it, see _end_group
    figures: dict[str, Any] = {}
    status, reason = "running", ""
    _write(notes, status, reason, figures)
    try:
        for some in part.measure(bench):
            figures.update(some)
            _write(notes, status, reason, figures)
        status = "ok"
    except (Skipped, ImportError) as error:
        status, reason = "skipped", str(error)
    except BaseException as error:  # whatever it is, the other parts go on
        traceback.print_exc()
        status, reason = "failed", f"{type(error).__name__}: {error}"[:400]
    _write(notes, status, reason, figures)


def _end_group(group: int) -> None:
    """End what a part left running: its process and those that it started."""
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _result(status: str, reason: str, seconds: float, figures: Any) -> dict[str, Any]:
    return {
        "status": status,
        "reason": reason,
        "seconds": round(seconds, 1),
        "figures": figures,
    }


def _write(notes: Path, status: str, reason: str, figures: dict[str, Any]) -> None:
    """Whole or not at all: the process may be ended at any time."""
    text = json.dumps({"status": status, "reason": reason, "figures": figures})
    aside = notes.with_suffix(".new")
    aside.write_text(text, encoding="utf-8")
    aside.replace(notes)


def _read(notes: Path) -> dict[str, Any]:
    if not notes.exists():
        return {"status": "running", "reason": "", "figures": {}}
    noted: dict[str, Any] = json.loads(notes.read_text(encoding="utf-8"))
    return noted
