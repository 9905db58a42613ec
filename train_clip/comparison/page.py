"""A comparison as a table (Markdown), curves (PNG) and a page (HTML) that links every run."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attr_builder.evaluation.statistics import Difference, Spread
from lesstext.storage.files import atomic_path, write_text
from train_clip.comparison.examples import find_examples
from train_clip.comparison.results import Comparison, FinishedRun
from train_clip.comparison.verdict import verdicts

TABLE, CURVES, PAGE = "table.md", "curves.png", "comparison.html"
_TEMPLATES = Path(__file__).parent / "templates"
_SMOOTH_SHARE = 0.02
_CURVES_SHOWN = ("clean_top1", "attacked_top1", "i2t_R@1", "t2i_R@1", "image_map")


def write_report(comparison: Comparison, out: Path) -> None:
    """Write `table.md`, `curves.png` and `comparison.html` into `out`."""
    import jinja2

    with atomic_path(out / CURVES) as partial:
        draw_curves(comparison, partial)
    write_text(out / TABLE, markdown_table(comparison))
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, trim_blocks=True
    )
    environment.filters["number"] = number
    environment.filters["p_value"] = p_value
    page = environment.get_template("comparison.html.j2").render(
        comparison=comparison,
        runs=[_run_row(run, out) for run in comparison.runs],
        curves=base64.b64encode((out / CURVES).read_bytes()).decode(),
        verdicts=[verdict.sentence() for verdict in verdicts(comparison)],
        examples=find_examples(comparison),
        n_seeds=len({run.seed for run in comparison.runs}),
        n_steps=comparison.runs[0].result["n_steps"],
    )
    write_text(out / PAGE, page)


def markdown_table(comparison: Comparison) -> str:
    """One row per metric: mean ± spread of each arm, then its difference from the baseline."""
    others = [arm for arm in comparison.arms if arm != comparison.baseline]
    heads = [*comparison.arms, *(f"{arm} − {comparison.baseline}" for arm in others)]
    lines = ["| metric | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for metric, row in comparison.table.items():
        cells = [_spread_cell(row[arm]) for arm in comparison.arms]
        found = comparison.differences.get(metric, {})
        cells += [_difference_cell(found.get(arm)) for arm in others]
        lines.append(f"| {metric} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def draw_curves(comparison: Comparison, target: Path) -> None:
    """Loss and evaluation metrics over steps: mean over seeds, band from lowest to highest."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    shown = [name for name in _CURVES_SHOWN if name in comparison.table]
    figure, axes = plt.subplots(1, 1 + len(shown), figsize=(4.5 * (1 + len(shown)), 3.6))
    panels = np.atleast_1d(axes)
    for panel, metric in zip(panels, ["loss", *shown], strict=True):
        kind = "train" if metric == "loss" else "evaluation"
        for number, arm in enumerate(comparison.arms):
            runs = [run for run in comparison.runs if run.arm == arm]
            steps, values = curve(runs, kind, metric)
            panel.plot(steps, values.mean(axis=0), label=arm, color=f"C{number}", marker="")
            low, high = values.min(axis=0), values.max(axis=0)
            panel.fill_between(steps, low, high, color=f"C{number}", alpha=0.2, linewidth=0)
        panel.set_xlabel("step")
        panel.set_title(metric if kind == "evaluation" else "training loss (smoothed)")
    panels[0].legend()
    figure.tight_layout()
    figure.savefig(target, format="png", dpi=120)
    plt.close(figure)


def curve(runs: Sequence[FinishedRun], kind: str, metric: str) -> tuple[Any, Any]:
    """Steps that all runs have, (n,), and their values, (runs, n); the loss is smoothed."""
    series = [
        {row["step"]: row[metric] for row in run.rows if row["kind"] == kind and metric in row}
        for run in runs
    ]
    steps = sorted(set.intersection(*(set(one) for one in series)))
    values = np.array([[one[step] for step in steps] for one in series])
    if kind == "train" and len(steps):
        width = max(1, round(_SMOOTH_SHARE * len(steps)))
        values = np.stack([_smooth(row, width) for row in values])
    return np.array(steps), values


def number(value: float, signed: bool = False) -> str:
    """Three decimals; an en dash for what is not known."""
    if math.isnan(value):
        return "–"
    return f"{value:+.3f}" if signed else f"{value:.3f}"


def p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _smooth(values: Any, width: int) -> Any:
    """Mean over a window centred on each step, cut off at the ends."""
    kernel = np.ones(width)
    weights = np.convolve(np.ones(len(values)), kernel, mode="same")
    return np.convolve(values, kernel, mode="same") / weights


def _spread_cell(found: Spread) -> str:
    return f"{number(found.mean)} ± {number(found.deviation)}"


def _difference_cell(found: Difference | None) -> str:
    if found is None:
        return ""
    tests = ", ".join(p_value(test.p_value) for test in found.tests)
    interval = f"[{number(found.low, True)}, {number(found.high, True)}]"
    return f"{number(found.mean, True)} {interval}, p {tests}"


def _run_row(run: FinishedRun, out: Path) -> dict[str, Any]:
    return {
        "arm": run.arm,
        "seed": run.seed,
        "folder": run.folder_in(out),
        "result": run.result,
    }
