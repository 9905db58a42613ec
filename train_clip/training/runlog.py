"""What a run says: `metrics.jsonl`, a tracker and one live line as it goes, then its result."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any, TextIO

from lesstext.console import is_hushed, tell
from lesstext.storage.files import write_text
from train_clip.training.trackers import Tracker, numbers

METRICS = "metrics.jsonl"
BAD = "bad.jsonl"
_PLAIN_LINE_EVERY_S = 10.0
_RECENT_STEPS = 20


class JsonLines:
    """An append-only file of JSON rows that carry a `step`, the number of finished steps."""

    def __init__(self, path: Path | None, resumed_at: int) -> None:
        """Open for appending; what an abandoned future wrote after `resumed_at` is dropped.

        So is an evaluation at `resumed_at` itself, which the resumed run does again. Without a
        path (on ranks that do not log) nothing is written.
        """
        self._file: TextIO | None = None
        if path is None:
            return
        kept = [row for row in read_rows(path) if _is_past(row, resumed_at)]
        write_text(path, "".join(_line(row) for row in kept))
        self._file = path.open("a", encoding="utf-8")

    def write(self, row: dict[str, Any]) -> None:
        if self._file is not None:
            self._file.write(_line(row))
            self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file; a last line cut off by a kill is left out."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def _is_past(row: dict[str, Any], resumed_at: int) -> bool:
    step: int = row["step"]
    return step < resumed_at or (step == resumed_at and row.get("kind") != "evaluation")


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, sort_keys=True) + "\n"


class LiveLine:
    """Loss, rate, speed, data wait and ETA: one live line on a terminal, else a line per 10 s."""

    def __init__(self, n_steps: int, batch_size: int, shown: bool = True) -> None:
        self._n_steps, self._batch_size, self._shown = n_steps, batch_size, shown
        self._recent: deque[tuple[float, float]] = deque(maxlen=_RECENT_STEPS)
        self._last_line = 0.0
        self._status: Any = None
        if shown and sys.stderr.isatty() and not is_hushed():
            from rich.console import Console

            self._status = Console(stderr=True).status("starting")
            self._status.start()

    def show(self, step: int, loss: float, rate: float, step_s: float, wait_s: float) -> None:
        """Report a finished step (counted from 0) that took `step_s`, of which `wait_s` idle."""
        self._recent.append((step_s, wait_s))
        if not self._shown:
            return
        text = self._text(step, loss, rate)
        last = step + 1 == self._n_steps
        if self._status is not None:
            self._status.update(text)
        if self._status is None and (last or time.monotonic() > self._last_line):
            self._last_line = time.monotonic() + _PLAIN_LINE_EVERY_S
            tell(text)

    def close(self) -> None:
        if self._status is not None:
            self._status.stop()

    def _text(self, step: int, loss: float, rate: float) -> str:
        took = sum(step_s for step_s, _ in self._recent)
        waited = sum(wait_s for _, wait_s in self._recent)
        mean_s = took / len(self._recent)
        left_s = round(mean_s * (self._n_steps - step - 1))
        return (
            f"step {step + 1}/{self._n_steps}  loss {loss:.3f}  lr {rate:.1e}  "
            f"{self._batch_size / mean_s:.0f} samples/s  data wait {waited / took:.0%}  "
            f"ETA {left_s // 3600}:{left_s // 60 % 60:02d}:{left_s % 60:02d}"
        )


class RunLog:
    """All that a run writes about itself from `resumed_at` on; nothing where not `written`."""

    def __init__(
        self,
        out: Path,
        resumed_at: int,
        live: LiveLine,
        *,
        tracker: Tracker | None,
        written: bool,
    ) -> None:
        self.live = live
        self.bad = JsonLines(out / BAD if written else None, resumed_at)
        self._metrics = JsonLines(out / METRICS if written else None, resumed_at)
        self._tracker = tracker

    def write(
        self, kind: str, step: int, values: dict[str, Any], timing: dict[str, float] | None = None
    ) -> None:
        """A row of metrics after `step` finished steps; wall-clock times lie apart in it."""
        row = {"kind": kind, "step": step, **values}
        self._metrics.write(row if timing is None else {**row, "timing": timing})
        if self._tracker is not None:
            self._tracker.write(step, numbers({**values, **(timing or {})}, kind))

    def close(self) -> None:
        for sink in (self._metrics, self.bad, self._tracker, self.live):
            if sink is not None:
                sink.close()


def print_result(result: dict[str, Any], out: Path) -> None:
    """Print steps, the repetition ledger, the metrics and how to load the model."""
    seconds = result["train_s"] or 1e-9
    print(
        f"step == N: {result['step']} == {result['n_steps']}; {result['samples']} samples at "
        f"{result['samples'] / seconds:.0f} samples/s, data wait {result['wait_s'] / seconds:.1%}; "
        f"{result['bad_samples']} bad samples replaced"
    )
    for entry in result["ledger"]:
        print(
            f"{entry['data']}: {entry['n_drawn']} drawn, {entry['n_unique']} unique of "
            f"{entry['n_usable']} usable in {entry['pool_size']}; repeats mean "
            f"{entry['mean_repeats']:.2f}, max {entry['max_repeats']}; never seen "
            f"{entry['unseen_ratio']:.1%} (of the pool {entry['unseen_pool_ratio']:.1%})"
        )
    print_evaluation(result["evaluation"])
    print(f'open_clip.create_model("local-dir:{result["model_folder"]}")')
    print(f"run: {out}")


def print_evaluation(values: dict[str, Any]) -> None:
    """Print metrics, one line per group of names with a common prefix."""
    for prefix in ("clean", "attacked", "i2t", "t2i"):
        mine = {k: v for k, v in values.items() if k.startswith(prefix + "_")}
        if mine:
            told = "  ".join(
                f"{name[len(prefix) + 1 :]} {value:.4f}"
                if isinstance(value, float)
                else f"{name[len(prefix) + 1 :]} {value}"
                for name, value in mine.items()
            )
            print(f"{prefix}: {told}")
