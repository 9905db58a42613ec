"""The experiment told: figures (JSON) and the table (Markdown) of the stages that are done.

Nothing in `results.json` and `table.md` differs between two runs of one experiment; times, versions
and commits stand in `provenance.json`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from provenance import command_rows, provenance
from reproduction.measures import METRICS, Estimate, estimate
from reproduction.report import difference, header, percent

from lesstext.storage.files import plain, write_text
from reading.kept import Kept, figures, gain, ratio, read_kept, share
from reading.plan import ReadingPlan
from reading.questions import Answer, Gate, answers, repaired
from reading.training import label_sets
from train_clip.comparison.results import load_run

SCENES, GROCERIES = ("clean", "printed"), ("carton", "loose")
ATTACK = ("clean", "attacked", "success")
_PACKAGES = ("torch", "open_clip_torch", "numpy", "pillow", "timm")


Shares = Mapping[str, Mapping[str, Mapping[str, Estimate]]]


@dataclass(frozen=True, slots=True)
class Groceries:
    """True entities kept of `n` photos, as they are and with their text hidden."""

    n: int
    reading: Estimate
    hidden: Estimate
    difference: Estimate


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that is told; `void` says why the experiment cannot tell, or is empty.

    `ways` are shares by way, judge, role and variant, `times` how many times as often each way
    keeps a rival that is printed; `cartons` and `training` are empty until they are done.
    """

    size: str
    pilot: Gate
    void: str
    ways: dict[str, Shares]
    times: dict[str, float]
    answers: list[Answer]
    repaired: str
    cartons: dict[str, Groceries]
    training: dict[str, dict[str, Estimate]]


def write_reading(plan: ReadingPlan, pilot: Gate) -> str:
    """Write all of `results/`; returns the table."""
    found = findings(plan, pilot)
    table = as_markdown(found)
    for name, text in {
        "results.json": json.dumps(plain(asdict(found)), indent=2) + "\n",
        "provenance.json": json.dumps(_provenance(plan), indent=2) + "\n",
        "table.md": table,
    }.items():
        write_text(plan.results / name, text, unguarded=True)
    return table


def findings(plan: ReadingPlan, pilot: Gate) -> Findings:
    """All figures of the stages that are done."""
    kept = {way: read_kept(plan.scenes, _picks(plan, way)) for way in plan.size.arms}
    given = answers(kept)
    has_cartons = all(folder.exists() for folder in _carton_picks(plan, "hidden"))
    return Findings(
        size=plan.size.name,
        pilot=pilot,
        void="" if plan.size.claims else "this size tests the plumbing and claims nothing",
        ways={way: figures(one, SCENES) for way, one in kept.items()},
        times={way: ratio(one) for way, one in kept.items()},
        answers=given,
        repaired=repaired(given),
        cartons=_cartons(plan) if has_cartons else {},
        training=_training(plan) if (plan.runs / "comparison.json").exists() else {},
    )


def as_markdown(found: Findings) -> str:
    """The tables for people, in GitHub's Markdown."""
    lines = [f"# Selectors that read, size `{found.size}`", "", f"Pilot: {found.pilot.text}.", ""]
    if found.void:
        lines += [f"**Void: {found.void}.**", ""]
    lines += _kept_lines(found)
    lines += header(["question", "difference", "answer"])
    lines += [f"| {a.question} | {difference(a.found)} | {a.answer} |" for a in found.answers]
    lines += ["", f"Does hiding the text repair the reading selector? **{found.repaired}**", ""]
    lines += _carton_lines(found.cartons) if found.cartons else []
    lines += _training_lines(found.training) if found.training else []
    return "\n".join(lines).rstrip() + "\n"


def seconds(plan: ReadingPlan) -> dict[str, float]:
    """How long the commands of each stage took."""
    logs = sorted(plan.commands("any").parent.glob("*.jsonl"))
    return {log.stem: round(sum(row["seconds"] for row in command_rows(log)), 1) for log in logs}


def _picks(plan: ReadingPlan, way: str) -> list[Path]:
    return [plan.picks(way, seed) for seed in plan.seeds_of(way)]


def _carton_picks(plan: ReadingPlan, way: str) -> list[Path]:
    return [plan.carton_picks(way, seed) for seed in plan.size.seeds]


def _kept_lines(found: Findings) -> list[str]:
    names = ["wrong, not printed", "wrong, printed", "times", "true, clean", "true, printed"]
    lines = header(["selector", *names])
    for judge, mark in (("first", ""), ("above", ", by threshold")):
        for way, shares in found.ways.items():
            rivals, true = (
                [percent(shares[judge][role][variant]) for variant in SCENES]
                for role in ("rival", "true")
            )
            times = _times(found.times[way]) if judge == "first" else ""
            lines.append(f"| {way}{mark} | {' | '.join([*rivals, times, *true])} |")
    return [
        *lines,
        "",
        "Percent of the images of which the entity is kept, mean over seeds [95% interval over",
        "photos and seeds]: the most similar of the three, or all above the threshold that keeps",
        "three quarters of the true entities of clean images. `blind` has one seed. Below,",
        "differences in points; those of times are printed minus so many times not printed.",
        "",
    ]


def _times(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def _cartons(plan: ReadingPlan) -> dict[str, Groceries]:
    reading, hidden = (
        read_kept(plan.cartons, _carton_picks(plan, way)) for way in ("reading", "hidden")
    )
    return {
        variant: Groceries(
            n=int((reading.variants == variant).sum()),
            reading=share(reading, Kept.first, "true", variant),
            hidden=share(hidden, Kept.first, "true", variant),
            difference=gain(reading, hidden, "true", variant),
        )
        for variant in GROCERIES
    }


def _carton_lines(found: Mapping[str, Groceries]) -> list[str]:
    lines = ["Groceries, of which the cartons say what they hold; true entities kept:", ""]
    lines += header(["photos", "n", "as they are", "text hidden", "difference"])
    for variant, row in found.items():
        cells = [percent(row.reading), percent(row.hidden), difference(row.difference)]
        lines.append(f"| {variant} | {row.n} | {' | '.join(cells)} |")
    return [*lines, ""]


def _training(plan: ReadingPlan) -> dict[str, dict[str, Estimate]]:
    found = {}
    for name in label_sets(plan):
        runs = [load_run(name, s, plan.runs / name / f"seed{s}") for s in plan.size.seeds]
        found[name] = {metric: estimate(runs, METRICS[metric]) for metric in ATTACK}
    return found


def _training_lines(found: Mapping[str, Mapping[str, Estimate]]) -> list[str]:
    lines = ["Models trained on the labels of each selector (its first seed), attacked:", ""]
    lines += header(["labels", "clean top-1", "attacked top-1", "attack success"])
    for name, row in found.items():
        lines.append(f"| {name} | {' | '.join(percent(row[metric]) for metric in ATTACK)} |")
    return [*lines, ""]


def _provenance(plan: ReadingPlan) -> dict[str, Any]:
    logs = sorted(plan.commands("any").parent.glob("*.jsonl"))
    commands = {log.stem: command_rows(log) for log in logs}
    rows = [row for some in commands.values() for row in some]
    script = f"bash scripts/reading_selector.sh --size {plan.size.name}"
    return {
        **provenance(script, plan.size.as_dict(), rows, _PACKAGES),
        "models_given": plan.given is not None,
        "seconds": seconds(plan),
        "commands": commands,
    }
