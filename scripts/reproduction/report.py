"""The result told: table (Markdown), figures (JSON), plots, and a page that tells the story.

`results.json`, the tables and the plots hold nothing that differs between two runs of one
experiment; times, versions and the commit stand in `provenance.json`.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from provenance import command_rows, provenance

from attr_builder.evaluation.published import FILTERED, UNFILTERED
from lesstext.storage.files import plain, write_text
from reproduction.measures import (
    CONTROLS,
    METRICS,
    ArmRow,
    Estimate,
    Removal,
    ThresholdPoint,
    arm_rows,
    compared,
    read_runs,
    removals,
    threshold_points,
)
from reproduction.plan import Gate, Plan, load_size
from reproduction.plots import draw_arms, draw_curves, draw_examples, draw_threshold

PAPER = {"all": UNFILTERED, "filtered": FILTERED}
# "No worse" leaves this much room, in accuracy.
MARGIN = 0.03
_PACKAGES = ("torch", "open_clip_torch", "numpy", "opencv-python-headless", "pillow", "easyocr")
_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Answer:
    """A question of the experiment, what the figures say to it, and the difference they rest on."""

    question: str
    answer: str
    found: Estimate


@dataclass(frozen=True, slots=True)
class Results:
    """Everything that the page tells; `void` says why the experiment cannot tell, or is empty."""

    size: str
    n_steps: int
    n_photos: int
    n_classes: int
    chance: float
    pilot: Gate
    void: str
    arms: list[ArmRow]
    answers: list[Answer]
    removals: list[Removal]
    thresholds: list[ThresholdPoint]


def write_results(plan: Plan, pilot: Gate) -> Path:
    """Write all of `results/`; returns the page."""
    runs = read_runs(plan)
    rows = arm_rows(plan, runs)
    results = Results(
        size=plan.size.name,
        n_steps=runs[0].result["n_steps"],
        n_photos=runs[0].result["evaluation"]["clean_n"],
        n_classes=round(1 / plan.chance),
        chance=plan.chance,
        pilot=pilot,
        void=_why_void(plan, rows[0]),
        arms=rows,
        answers=_answers(runs, plan.size.arms),
        removals=removals(plan, plan.size.max_text_area),
        thresholds=threshold_points(plan),
    )
    out = plan.results
    write_text(
        out / "results.json", json.dumps(plain(asdict(results)), indent=2) + "\n", unguarded=True
    )
    write_text(
        out / "provenance.json", json.dumps(_provenance(plan), indent=2) + "\n", unguarded=True
    )
    draw_threshold(results.thresholds, plan.size.max_text_area, out / "threshold.png")
    draw_curves(runs, plan.size.arms, plan.chance, out / "curves.png")
    draw_arms(rows, out / "arms.png")
    draw_examples(plan, out / "examples.png")
    write_text(out / "table.md", as_markdown(results, plan), unguarded=True)
    return _write_page(plan, results)


def as_markdown(results: Results, plan: Plan) -> str:
    """The tables for people, in GitHub's Markdown."""
    lines = [f"# Reproduction, size `{results.size}`", "", _setting(results, plan)]
    lines += [f"Pilot (seed {plan.size.pilot_seed}): {results.pilot.text}.", ""]
    if results.void:
        lines += [f"**Void: {results.void}.**", ""]
    names = ["pairs", "clean top-1", "Attr top-1", "attack success", "repeats"]
    lines += header(["arm", *names, "image→text R@5", "text→image R@5"])
    lines += [_arm_line(row) for row in results.arms]
    lines += ["", "| the paper (ViT-B/16, web data) | pairs | ImageNet top-1 | Attr top-1 |"]
    lines += ["|---|---|---|---|", *_paper_lines()]
    lines += [
        "",
        "Mean over seeds [95% interval: bootstrap over photos and seeds; retrieval: lowest",
    ]
    lines += ["and highest seed]. Percent, but repeats: how often a pair was drawn on average.", ""]
    lines += header(["question", "difference", "answer"])
    lines += [f"| {a.question} | {difference(a.found)} | {a.answer} |" for a in results.answers]
    lines += ["", *header(["arm", *(f"`{name}` top-1" for name in CONTROLS)])]
    for row in results.arms:
        cells = [percent(row.controls[name]) for name in CONTROLS]
        lines.append(f"| {row.arm} | {' | '.join(cells)} |")
    lines += ["", f"The filter (ratio above {plan.size.max_text_area:g} is removed) against what"]
    lines += ["was drawn; precision of a row counts all clean samples that were removed.", ""]
    lines += header(["samples", "n", "removed", "share removed (recall)", "precision"])
    lines += [_removal_line(row) for row in results.removals]
    return "\n".join(lines) + "\n"


def _why_void(plan: Plan, all_arm: ArmRow) -> str:
    """Why the experiment cannot tell, or nothing."""
    if not plan.size.claims:
        return "this size tests the plumbing and claims nothing"
    success, clean = all_arm.metrics["success"], all_arm.metrics["clean"]
    if success.low < 2 * plan.chance:
        return f"`all` was not surely fooled twice as often as chance ({percent(success)})"
    if clean.low < 2 * plan.chance:
        return f"`all` sees too little ({percent(clean)} clean)"
    return ""


def _answers(runs: Sequence[Any], arms: Sequence[str]) -> list[Answer]:
    asked = [
        ("does filtered beat all under attack?", "all", "filtered", "attacked", "better"),
        ("is filtered fooled less than all?", "all", "filtered", "success", "less"),
        ("is filtered no worse than all on clean?", "all", "filtered", "clean", "no worse"),
        ("is filtered no worse than control on clean?", "control", "filtered", "clean", "no worse"),
        ("does filtered beat control under attack?", "control", "filtered", "attacked", "better"),
        (
            "is filtered as good as oracle under attack?",
            "oracle",
            "filtered",
            "attacked",
            "no worse",
        ),
        ("is filtered as good as oracle on clean?", "oracle", "filtered", "clean", "no worse"),
        ("does control lose against all on clean?", "all", "control", "clean", "worse"),
    ]
    for arm in [name for name in arms if name in ("masked", "pool", "augment")]:
        asked.append((f"does {arm} beat all under attack?", "all", arm, "attacked", "better"))
        asked.append((f"is {arm} no worse than all on clean?", "all", arm, "clean", "no worse"))
    answers = []
    for question, baseline, arm, metric, wanted in asked:
        found = compared(runs, baseline, arm, metric)
        answers.append(Answer(question, answer(wanted, found), found))
    return answers


def answer(wanted: str, found: Estimate, margin: float = MARGIN) -> str:
    """Yes, no or cannot tell, from where the 95% interval lies.

    >>> answer("better", Estimate(0.1, 0.05, 0.15)), answer("less", Estimate(0.1, 0.05, 0.15))
    ('yes', 'no')
    >>> answer("no worse", Estimate(0.0, -0.1, 0.1)), answer("no worse", Estimate(0, -0.01, 0.01))
    ('cannot tell', 'yes (within 3 points)')
    """
    if wanted in ("less", "worse"):
        return answer("better", Estimate(-found.mean, -found.high, -found.low))
    bound = -margin if wanted == "no worse" else 0.0
    if found.low > bound:
        return "yes" if wanted == "better" else f"yes (within {_points(margin)})"
    return "no" if found.high <= bound else "cannot tell"


def _points(margin: float) -> str:
    """A margin in percentage points."""
    return f"{100 * margin:g} point{'' if margin == 0.01 else 's'}"


def _setting(results: Results, plan: Plan) -> str:
    train, seeds = plan.size.train, ", ".join(map(str, plan.size.seeds))
    return (
        f"{results.n_classes} classes of Tiny-ImageNet, model {train['model']}, "
        f"{results.n_steps} steps of {train['batch_size']} pairs, seeds {seeds}; "
        f"{results.n_photos} validation photos with {plan.size.attack['attacks-per-image']} wrong "
        f"words each; chance {100 * results.chance:.1f}%."
    )


def _paper_lines() -> list[str]:
    return [
        f"| {arm} | {row.pairs} | {row.imagenet} | {row.imagenet_attr} |"
        for arm, row in PAPER.items()
    ]


def header(names: Sequence[str]) -> list[str]:
    return [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]


def _arm_line(row: ArmRow) -> str:
    metrics = {name: percent(row.metrics[name]) for name in METRICS}
    cells = [metrics["clean"], metrics["attacked"], metrics["success"], f"{row.repeats:.1f}"]
    cells += [metrics["i2t"], metrics["t2i"]]
    return f"| {row.arm} | {row.pairs:,} | {' | '.join(cells)} |"


def _removal_line(row: Removal) -> str:
    precision = "" if row.precision is None else _share(row.precision)
    return f"| {row.group} | {row.n:,} | {row.removed:,} | {_share(row.recall)} | {precision} |"


def _share(value: float) -> str:
    """A share in percent, or an en dash where there is nothing to take it of."""
    return "–" if math.isnan(value) else f"{100 * value:.1f}"


def percent(found: Estimate) -> str:
    return f"{100 * found.mean:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def difference(found: Estimate) -> str:
    return f"{100 * found.mean:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"


def _provenance(plan: Plan) -> dict[str, Any]:
    """Commands with their seconds, the commits they ran from, versions and machine."""
    rows = command_rows(plan.out / "commands.jsonl")
    seconds: dict[str, float] = {}
    for row in rows:  # once for each time that the script was started
        seconds[row["command"]] = round(seconds.get(row["command"], 0.0) + row["seconds"], 1)
    usual = load_size(_HERE / "sizes.toml", plan.size.name).arms
    also = ",".join(arm for arm in plan.size.arms if arm not in usual)
    script = f"bash scripts/reproduce.sh --size {plan.size.name}"
    script = f"{script} --also {also}" if also else script
    return {
        **provenance(script, plan.size.as_dict(), rows, _PACKAGES),
        "commands": [{"command": text, "seconds": took} for text, took in seconds.items()],
    }


def _write_page(plan: Plan, results: Results) -> Path:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE), autoescape=True, trim_blocks=True
    )
    environment.filters.update(percent=percent, difference=difference, share=_share)
    pictures = {
        name: base64.b64encode((plan.results / f"{name}.png").read_bytes()).decode()
        for name in ("threshold", "curves", "arms")
    }
    page = environment.get_template("page.html.j2").render(
        results=results,
        size=plan.size,
        setting=_setting(results, plan),
        provenance=_provenance(plan),
        controls=CONTROLS,
        paper=PAPER,
        pictures=pictures,
    )
    target = plan.results / "index.html"
    write_text(target, page, unguarded=True)
    return target
