"""Results as markdown tables, and what they were measured with and on."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from provenance import installed, processor
from source_commit import source_commit

from detector_eval.measure import THRESHOLDS, Agreement, Run

_PACKAGES = (
    "lesstext",
    "torch",
    "easyocr",
    "opencv-python-headless",
    "rapidocr",
    "onnxruntime",
    "openvino",
)


@dataclass(slots=True, kw_only=True)
class Results:
    """All that one command measured; `truth` is ICDAR's ratios in the order of the runs'."""

    about: dict[str, Any]
    truth: list[float] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    agreements: list[Agreement] = field(default_factory=list)


def about(*, threads: int, device: str, note: str) -> dict[str, Any]:
    """When, with what and on what the results were measured; `note` is the user's own."""
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "commit": source_commit(),
        "python": platform.python_version(),
        "versions": installed(_PACKAGES),
        "cpu": processor(),
        "device": device,
        "threads": threads,
        "note": note,
    }


def markdown(results: Results) -> str:
    """One table per data set, the operating points, the precisions, and the circumstances."""
    runs = sorted(results.runs, key=lambda run: (run.dataset, run.size_px or 0, run.detector))
    parts = [
        _scam_table([run for run in runs if run.dataset == "scam"]),
        _icdar_table([run for run in runs if run.dataset == "icdar2015"]),
        _operating_points(runs),
        _agreement_table(results.agreements),
        _circumstances(results.about),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _scam_table(runs: Sequence[Run]) -> str:
    if not runs:
        return ""
    head = "AUC | paired wins | SCAM above 0.5% | NoSCAM above 0.5%"
    keys = ("auc", "paired_win_rate", "scam_above_half_percent", "noscam_above_half_percent")
    title = f"**SCAM against NoSCAM**, {len(runs[0].ratios) // 2} pairs"
    return _metric_table(title, head, runs, [(key, "{:.3f}".format) for key in keys])


def _icdar_table(runs: Sequence[Run]) -> str:
    if not runs:
        return ""
    title = f"**ICDAR 2015**, {len(runs[0].ratios)} images: the ratio against the outlined text"
    columns: list[tuple[str, Callable[[float], str]]] = [
        ("correlation", "{:.3f}".format),
        ("mean_absolute_error", "{:.5f}".format),
        ("bias", "{:+.5f}".format),
    ]
    return _metric_table(title, "correlation | mean absolute error | bias", runs, columns)


def _metric_table(
    title: str,
    head: str,
    runs: Sequence[Run],
    columns: Sequence[tuple[str, Callable[[float], str]]],
) -> str:
    rows = [
        [*_names(run), *(_cell(run.metrics[key], show) for key, show in columns), _seconds(run)]
        for run in runs
    ]
    return f"{title}\n\n" + _table(
        ["detector", "longer side", "dtype", *head.split(" | "), "s/image"], rows
    )


def _operating_points(runs: Sequence[Run]) -> str:
    """Precision / recall at each threshold; the text says what is a positive."""
    if not runs:
        return ""
    rows = [
        [
            *_names(run),
            run.dataset,
            *(f"{_percent(p.precision)} / {_percent(p.recall)}" for p in run.operating_points),
        ]
        for run in runs
    ]
    heads = [f"`--max-text-area {x:g}`" for x in THRESHOLDS]
    return (
        "**Precision / recall of removal** (an image is removed when its ratio exceeds X). On "
        "icdar2015 a positive is an image whose outlined text covers more than X; on scam it is "
        "every SCAM image, at every X, and every NoSCAM image is a negative, though some hold "
        "other text.\n\n" + _table(["detector", "longer side", "dtype", "data", *heads], rows)
    )


def _agreement_table(agreements: Sequence[Agreement]) -> str:
    if not agreements:
        return ""
    rows = [
        [
            item.images,
            f"{item.detector} {item.size_px}",
            " / ".join(item.precisions),
            str(item.n_images),
            str(item.n_with_text),
            f"{100 * item.share_within:.1f}%",
            f"{item.largest_difference:.4f}",
        ]
        for item in agreements
    ]
    heads = ["images", "detector", "precisions", "n", "with text", "within", "largest difference"]
    title = f"**Precisions**: share of ratios that agree within {agreements[0].tolerance:g}"
    return f"{title}\n\n" + _table(heads, rows)


def _circumstances(about: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    return (
        f"Measured {about['date']} at commit {about['commit']} on {about['cpu']}, "
        f"{about['device']}, {about['threads']} thread(s); Python {about['python']}, {versions}. "
        "Seconds are those of detection alone, without decoding. "
        f"{about['note']}"
    ).strip()


def _names(run: Run) -> list[str]:
    precision = re.search(r"precision=(\S+)", run.detector_id)
    size = "own" if run.size_px is None else str(run.size_px)
    return [run.detector, size, precision.group(1) if precision else "–"]


def _seconds(run: Run) -> str:
    return f"{run.seconds_per_image:.3f}"


def _cell(value: float | None, show: Callable[[float], str]) -> str:
    return "–" if value is None else show(value)


def _percent(value: float | None) -> str:
    return _cell(value, "{:.0%}".format)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
