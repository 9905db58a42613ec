"""Measure what entities cost in mistakes.

`eval_entities.py mentions` compares matchers with captions that were read. `picks` asks how well a
selector tells what is shown.

`eval_entities.py picks OUT --selector imagenet` composes alt-texts for Tiny-ImageNet's and the
groceries' validation photos, finds their mentions, measures picks, and prints precision and recall
on the half of the photos that no constant was chosen on. `LESSTEXT_DATA` names the photos. `plot`
draws what it writes.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from entities.alt_texts import groceries, tiny_imagenet
from entities.mention_evidence import READ
from entities.mention_figures import as_text
from entities.mention_figures import figures as mention_figures
from entities.selection_quality import RECALLS, judged, pick, prepare

from lesstext.storage.files import write_text

_CURVE = [percent / 100 for percent in range(2, 100, 2)]

app = typer.Typer(add_completion=False)


@app.callback()
def main() -> None:
    """Measure what entities cost in mistakes."""


@app.command()
def mentions() -> None:
    """Precision and recall of every matcher by both readings, written where the verdicts are."""
    results = mention_figures(Path(os.environ["LESSTEXT_DATA"]))
    write_text(READ / "results.json", json.dumps(results, indent=2) + "\n", unguarded=True)
    write_text(READ / "results.md", as_text(results), unguarded=True)
    print(as_text(results))


@app.command()
def picks(
    out: Annotated[Path, typer.Argument(help="Folder for shards, tables and figures.")],
    selector: Annotated[str, typer.Option(help="imagenet or clip.")] = "imagenet",
    model: Annotated[str | None, typer.Option(help="With clip: local-dir:RUN.")] = None,
    every: Annotated[int, typer.Option(help="Take every so-many-th photo.")] = 1,
    workers: Annotated[int, typer.Option(help="Processes.")] = 1,
) -> None:
    """Precision against recall of a selector, on photos with alt-texts of known truth."""
    data = Path(os.environ["LESSTEXT_DATA"])
    tiny = tiny_imagenet(data, "val")
    shelf = groceries(data, tiny.entities, "val")
    sets = {"tiny_imagenet": (tiny, shelf.entities, 2), "grocery": (shelf, tiny.entities, 3)}
    found: dict[str, Any] = {"selector": selector, "every": every}
    for name, (photos, others, seed) in sets.items():
        folder = out / name
        prepare(folder, photos, others, seed, every if name == "tiny_imagenet" else 1)
        options = {"selector": selector, "model": model}
        rows = pick(folder, f"picks_{selector}", workers, options)
        held_out = judged(rows[1::2] if name == "tiny_imagenet" else rows)
        found[name] = {
            "n_photos": held_out.n_photos,
            "n_true": held_out.n_true,
            "auc": {kind: held_out.auc(kind) for kind in ("near", "far", "foreign")},
            "at": [held_out.at_recall(recall) for recall in RECALLS],
            "curve": [_point(held_out.at_recall(recall)) for recall in _CURVE],
        }
        print(_table(name, found[name]))
    write_text(out / f"{selector}.json", json.dumps(found, indent=2) + "\n", unguarded=True)


def _point(at: dict[str, Any]) -> dict[str, Any]:
    """What the plot needs."""
    return {name: at.get(name) for name in ("recall", "precision", "low", "high")}


@app.command()
def plot(
    figures: Annotated[list[Path], typer.Argument(help="What `picks` wrote, one per selector.")],
    out: Annotated[Path, typer.Option(help="Picture to write (png).")],
) -> None:
    """Draw precision against recall, with 95% intervals, of each selector on each set."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    sets = {"tiny_imagenet": "Tiny-ImageNet", "grocery": "Grocery photos"}
    figure, panels = plt.subplots(1, len(sets), figsize=(9, 3.6), sharey=True)
    for panel, (name, title) in zip(panels, sets.items(), strict=True):
        for path in figures:
            found = json.loads(path.read_text())
            points = [one for one in found[name]["curve"] if one["precision"] is not None]
            columns = {key: [one[key] for one in points] for key in points[0]} if points else {}
            if columns:
                panel.plot(columns["recall"], columns["precision"], label=found["selector"])
                panel.fill_between(columns["recall"], columns["low"], columns["high"], alpha=0.2)
        n_photos = json.loads(figures[0].read_text())[name]["n_photos"]
        panel.set(title=f"{title}, {n_photos} photos", xlabel="recall", xlim=(0, 1), ylim=(0, 1))
    panels[0].set_ylabel("precision")
    panels[0].legend(title="selector", loc="lower left")
    figure.tight_layout()
    figure.savefig(out, dpi=100, metadata={"Software": None})


def _table(name: str, figures: dict[str, Any]) -> str:
    """Markdown, one line per recall."""
    auc = ", ".join(f"{kind} {value:.3f}" for kind, value in figures["auc"].items())
    lines = [
        f"{name}: {figures['n_photos']} photos, {figures['n_true']} alt-texts name what is shown; "
        f"AUC against {auc}",
        "",
        "| recall | threshold | precision (95%) | kept |",
        "|---|---|---|---|",
    ]
    for row in figures["at"]:
        if row["threshold"] is None:
            lines.append(f"| {row['recall']:g} | never reached | | |")
            continue
        lines.append(
            f"| {row['recall']:g} | {row['threshold']:.4f} | {row['precision']:.3f} "
            f"({row['low']:.3f} to {row['high']:.3f}) | {row['n_kept']} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    app()
