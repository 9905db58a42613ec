"""The frontier as a table and as a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import ScalarFormatter

from detector_eval.frontier import UNLABELLED, Frontier, Point
from lesstext.storage.files import atomic_path

_HEADS = (
    "detector", "CPU ms/image", "times craft", "SCAM AUC", "paired wins", "recall", "NoSCAM",
    "ICDAR corr.", "MAE", "recall", "no text, dropped", "handed over",
)  # fmt: skip

_MARKERS = "os^vD<>Pp*Xh"


def markdown(frontier: Frontier) -> str:
    """Quality and speed of each, agreement with the first, false positives by kind."""
    points = frontier.points
    rows = [_row(point) for point in points]
    compared = [point for point in points if point.agreement]
    parts = [
        "**Quality and speed**",
        _table(_HEADS, rows),
        f"**Selections at 0.005 that agree with those of `{points[0].label}`** (in brackets: "
        "dropped by that alone, by this alone)",
        _table(("detector", *UNLABELLED), [_agreement_row(point) for point in compared]),
        "**Photos without text that would be dropped**, by kind",
        _table(("detector", *_kinds(compared)), [_kind_row(p, _kinds(compared)) for p in compared]),
        _circumstances(frontier),
    ]
    return "\n\n".join(parts) + "\n"


def draw(points: Sequence[Point], target: Path) -> None:
    """SCAM's AUC and ICDAR's recall over images a second and core."""
    figure, panels = plt.subplots(1, 2, figsize=(9.5, 5.2))
    _panel(panels[0], [(p, p.scam.get("auc")) for p in points], "SCAM AUC")
    _panel(panels[1], [(p, p.icdar.get("recall")) for p in points], "ICDAR recall above 0.005")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=3, fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0.03 * -(-len(points) // 3), 1, 1))
    with atomic_path(target, unguarded=True) as partial:
        figure.savefig(partial, format="png", dpi=110, metadata={"Software": None})
    plt.close(figure)


def _panel(axes: Axes, values: Sequence[tuple[Point, float | None]], title: str) -> None:
    for number, (point, value) in enumerate(values):
        if value is not None:
            shape = f"C{number % 10}{_MARKERS[number % len(_MARKERS)]}"
            axes.plot(1000 / point.cpu_ms, value, shape, ms=8, alpha=0.8, label=point.label)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.margins(0.1)
    axes.set_xlabel("images a CPU-second, decoding included")
    axes.set_title(title)
    axes.grid(alpha=0.3, which="both")


def _row(point: Point) -> list[str]:
    dropped = [n for n, _ in point.false_positives.values()]
    total = sum(total for _, total in point.false_positives.values())
    return [
        f"`{point.label}`",
        f"{point.cpu_ms:.0f}",
        f"{point.times_first:.1f}",
        *(_cell(point.scam.get(name)) for name in ("auc", "paired_wins", "recall", "noscam")),
        _cell(point.icdar.get("correlation")),
        _cell(point.icdar.get("mean_absolute_error"), 4),
        _cell(point.icdar.get("recall")),
        f"{sum(dropped)} of {total}" if total else "–",
        "–" if point.handed_over is None else f"{point.handed_over:.1%}",
    ]


def _agreement_row(point: Point) -> list[str]:
    cells = []
    for name in UNLABELLED:
        if name in point.agreement:
            first, this = point.alone[name]
            cells.append(f"{point.agreement[name]:.1%} ({first}, {this})")
        else:
            cells.append("–")
    return [f"`{point.label}`", *cells]


def _kinds(points: Sequence[Point]) -> list[str]:
    return sorted({kind for point in points for kind in point.false_positives})


def _kind_row(point: Point, kinds: Sequence[str]) -> list[str]:
    shown = [point.false_positives.get(kind, (0, 0)) for kind in kinds]
    return [f"`{point.label}`", *(f"{n} of {total}" for n, total in shown)]


def _circumstances(frontier: Frontier) -> str:
    about = frontier.about
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    return (
        f"Measured {about['date']} at commit {about['commit']} on {about['cpu']}, "
        f"1 thread; Python {about['python']}, {versions}. CPU time is that of decoding, "
        f"detection and areas. {about['note']}"
    ).strip()


def _cell(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
