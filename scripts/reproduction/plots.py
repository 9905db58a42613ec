"""The three plots of the result page, and a sheet of samples to look at."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from PIL import Image

from lesstext.storage.files import atomic_path
from lesstext.tables.table import find_tables
from reproduction.measures import METRICS, ArmRow, ThresholdPoint, curve
from reproduction.plan import Plan
from train_clip.comparison.results import FinishedRun

_TITLES = {
    "clean": "clean top-1",
    "attacked": "attacked top-1",
    "success": "attack success",
}
_CELL_PX, _PER_ROW = 130, 12
_GROUPS = {
    "text, removed": "t.has_text AND s.text_area_ratio > $threshold",
    "text, missed": "t.has_text AND s.text_area_ratio <= $threshold",
    "no text, removed wrongly": "NOT t.has_text AND s.text_area_ratio > $threshold",
    "no text, kept": "NOT t.has_text AND s.text_area_ratio <= $threshold",
}


def draw_threshold(points: Sequence[ThresholdPoint], chosen: float, target: Path) -> None:
    """Kept share, precision and recall of the filter over its threshold."""
    figure, axes = plt.subplots(figsize=(6.4, 4))
    thresholds = [point.threshold for point in points]
    for name in ("kept", "precision", "recall"):
        label = "kept share" if name == "kept" else f"{name} of removals"
        axes.plot(thresholds, [getattr(p, name) for p in points], marker="o", ms=4, label=label)
    axes.axvline(chosen, color="0.4", linestyle="--", linewidth=1, label=f"used: {chosen:g}")
    axes.set_xscale("symlog", linthresh=0.001)
    axes.set_xlim(left=0)
    axes.set_ylim(0, 1.03)
    axes.set_xlabel("largest text-area ratio that is kept")
    axes.grid(alpha=0.3)
    axes.legend()
    _save(figure, target)


def draw_curves(
    runs: Sequence[FinishedRun], arms: Sequence[str], chance: float, target: Path
) -> None:
    """Clean and attacked accuracy and attack success over steps: mean, lowest to highest seed."""
    figure, panels = plt.subplots(1, 3, figsize=(13, 4), sharex=True)
    for panel, (name, title) in zip(panels, _TITLES.items(), strict=True):
        for number, arm in enumerate(arms):
            steps, values = curve(runs, arm, METRICS[name])
            panel.plot(steps, values.mean(axis=0), color=f"C{number}", label=arm, marker="o", ms=3)
            low, high = values.min(axis=0), values.max(axis=0)
            panel.fill_between(steps, low, high, color=f"C{number}", alpha=0.15, linewidth=0)
        panel.axhline(chance, color="0.4", linestyle=":", linewidth=1, label="chance")
        panel.set_title(title)
        panel.set_xlabel("step")
        panel.set_ylim(bottom=0)
        panel.grid(alpha=0.3)
    panels[0].legend()
    _save(figure, target)


def draw_arms(rows: Sequence[ArmRow], target: Path) -> None:
    """Clean against attacked accuracy per arm: mean with intervals, and each seed."""
    figure, axes = plt.subplots(figsize=(5.6, 5))
    for number, row in enumerate(rows):
        clean, attacked = row.metrics["clean"], row.metrics["attacked"]
        axes.errorbar(
            clean.mean,
            attacked.mean,
            xerr=[[clean.mean - clean.low], [clean.high - clean.mean]],
            yerr=[[attacked.mean - attacked.low], [attacked.high - attacked.mean]],
            fmt="o",
            capsize=3,
            color=f"C{number}",
            label=row.arm,
        )
        axes.scatter(clean.seeds, attacked.seeds, s=12, alpha=0.6, color=f"C{number}")
    low, high = axes.get_xlim()
    axes.plot([low, high], [low, high], color="0.6", linestyle=":", linewidth=1)
    axes.annotate("unharmed", (low, low), color="0.5", fontsize=8)
    axes.set_xlabel("clean top-1")
    axes.set_ylabel("attacked top-1")
    axes.grid(alpha=0.3)
    axes.legend()
    _save(figure, target)


def draw_examples(plan: Plan, target: Path) -> None:
    """Samples that the filter removed and kept, rightly and wrongly, and attacks: a row each."""
    tables = [str(path) for path in find_tables(plan.scores / "train")]
    truth = [str(path) for path in sorted(plan.truth.glob("train-*.parquet"))]
    sheet = Image.new("RGB", (_PER_ROW * _CELL_PX, (len(_GROUPS) + 1) * _CELL_PX), "white")
    for line, condition in enumerate(_GROUPS.values()):
        keys = duckdb.execute(
            f"""SELECT regexp_extract(s.filename, '([^/]+)[.]parquet$', 1), s.key
                FROM read_parquet($tables, filename = true) s
                JOIN read_parquet($truth) t ON s.key = t.key
                WHERE {condition} ORDER BY hash(s.key) LIMIT {_PER_ROW}""",
            {"tables": tables, "truth": truth, "threshold": plan.size.max_text_area},
        ).fetchall()
        for column, (shard, key) in enumerate(keys):
            _paste(sheet, _image(plan.train_shards / f"{shard}.tar", key), column, line)
    attacked = sorted(path for path in (plan.attr / "attacked").rglob("*") if path.is_file())
    for column, path in enumerate(attacked[:: max(1, len(attacked) // _PER_ROW)][:_PER_ROW]):
        _paste(sheet, Image.open(path).convert("RGB"), column, len(_GROUPS))
    with atomic_path(target, unguarded=True) as part:
        sheet.save(part, "PNG")


def _paste(sheet: Image.Image, image: Image.Image, column: int, line: int) -> None:
    image.thumbnail((_CELL_PX - 4, _CELL_PX - 4))
    sheet.paste(image, (column * _CELL_PX, line * _CELL_PX))


def _image(shard: Path, key: str) -> Image.Image:
    with tarfile.open(shard) as tar:
        member = tar.extractfile(f"{key}.jpg")
        assert member is not None
        return Image.open(io.BytesIO(member.read())).convert("RGB")


def _save(figure: Any, target: Path) -> None:
    figure.tight_layout()
    with atomic_path(target, unguarded=True) as part:
        # No version of matplotlib in the file: two runs give the same bytes.
        figure.savefig(part, format="png", dpi=110, metadata={"Software": None})
    plt.close(figure)
