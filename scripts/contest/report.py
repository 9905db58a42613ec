"""The tournament told: figures (JSON), the table (Markdown) and a plot.

Nothing in `results.json`, `table.md` and the plot differs between two runs of one tournament;
times, versions and commits stand in `provenance.json`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from provenance import command_rows, provenance
from reproduction.measures import METRICS, ArmRow, Estimate, estimate, read_runs
from reproduction.plan import Gate
from reproduction.plots import draw_arms
from reproduction.report import Answer, difference, header, percent

from attr_builder.evaluation.statistics import Rate
from contest.plan import ContestPlan
from contest.questions import MARGINS, Forgetting, answers, forgetting, keeps_more, reading
from contest.truth import KINDS, ParrotTruth, kept_by_kind, parrot_truth
from lesstext.storage.files import plain, write_text
from train_clip.comparison.results import FinishedRun

MEASURES = ("caption_overlap", "fuzzy_caption_overlap")
_METRICS = ("clean", "attacked", "success")
_PACKAGES = ("torch", "open_clip_torch", "numpy", "pillow", "easyocr", "rapidocr", "rapidfuzz")


@dataclass(frozen=True, slots=True)
class Contest:
    """Everything that is told; `void` says why the tournament cannot tell, or is empty."""

    size: str
    n_steps: int
    n_photos: int
    chance: float
    pilot: Gate
    void: str
    arms: list[ArmRow]
    reading: dict[str, Estimate]
    kept: dict[str, dict[str, float]]
    answers: list[Answer]
    keeps_more: dict[str, str]
    forgetting: list[Forgetting]
    parrots: list[ParrotTruth]


def write_contest(plan: ContestPlan, pilot: Gate) -> str:
    """Write all of `results/`; returns the table."""
    contest = found_in(plan, pilot)
    out = plan.results
    stored = json.dumps(plain(asdict(contest)), indent=2) + "\n"
    write_text(out / "results.json", stored, unguarded=True)
    provenance = json.dumps(_provenance(plan), indent=2) + "\n"
    write_text(out / "provenance.json", provenance, unguarded=True)
    draw_arms(contest.arms, out / "arms.png")
    table = as_markdown(contest, plan)
    write_text(out / "table.md", table, unguarded=True)
    return table


def found_in(plan: ContestPlan, pilot: Gate) -> Contest:
    """All figures of a finished tournament."""
    runs = read_runs(plan)
    arms = [_row(plan, runs, arm) for arm in plan.size.arms]
    given = answers(runs, plan.size.arms)
    pairs = {row.arm: row.pairs for row in arms}
    success = {row.arm: row.metrics["success"] for row in arms}
    selected = {arm: plan.selection(arm) if arm in plan.selecting else None for arm in pairs}
    return Contest(
        size=plan.size.name,
        n_steps=runs[0].result["n_steps"],
        n_photos=runs[0].result["evaluation"]["clean_n"],
        chance=plan.chance,
        pilot=pilot,
        void=_why_void(plan, success["all"]),
        arms=arms,
        reading={arm: reading(plan, arm) for arm in pairs},
        kept={arm: kept_by_kind(where, plan.truth) for arm, where in selected.items()},
        answers=given,
        keeps_more={arm: keeps_more(pairs, given, arm) for arm in ("parrot", "t-mars")},
        forgetting=forgetting(plan, success, given),
        parrots=[parrot_truth(plan.table("overlap"), plan.truth, name) for name in MEASURES],
    )


def as_markdown(contest: Contest, plan: ContestPlan) -> str:
    """The tables for people, in GitHub's Markdown."""
    train, seeds = plan.size.train, ", ".join(map(str, plan.size.seeds))
    lines = [f"# Tournament of policies, size `{contest.size}`", ""]
    lines += [
        f"{round(1 / contest.chance)} classes of Tiny-ImageNet, model {train['model']}, "
        f"{contest.n_steps} steps of {train['batch_size']} pairs, seeds {seeds}; "
        f"{contest.n_photos} validation photos with {plan.size.attack['attacks-per-image']} wrong "
        f"words each; chance {100 * contest.chance:.1f}%. Scorer of `t-mars` and `clip-score`: the "
        f"pilot (seed {plan.size.pilot_seed}), {contest.pilot.text}.",
        "",
    ]
    if contest.void:
        lines += [f"**Void: {contest.void}.**", ""]
    lines += header(["arm", "pairs", "clean top-1", "attacked top-1", "attack success", "reading"])
    for row in contest.arms:
        cells = [percent(row.metrics[name]) for name in _METRICS]
        score = percent(contest.reading[row.arm])
        lines.append(f"| {row.arm} | {row.pairs:,} | {' | '.join(cells)} | {score} |")
    lines += ["", "Percent: mean over seeds [95% interval: bootstrap over photos (reading: class"]
    lines += [f"names) and seeds]. {MARGINS}", ""]
    lines += [*_kept_lines(contest), *_answer_lines(contest)]
    for found in contest.parrots:
        lines += parrot_lines(found)
    return "\n".join(lines).rstrip("\n") + "\n"


def parrot_lines(found: ParrotTruth) -> list[str]:
    """How well text that stands in its caption was found by one measure."""
    lines = [
        f"Drawn text that stands in its caption, found by `{found.measure}` above 0 "
        f"({found.n_samples:,} samples): precision {_rate(found.precision)}, recall on upright "
        f"text of at least 6% of the height {_rate(found.legible.recall)}. Found otherwise: "
        + ", ".join(
            f"{n} {kind}"
            for kind, n in found.n_found_of.items()
            if kind not in ("parrot", "swapped")
        )
        + ".",
        "",
        *header(["text", "n in their caption", "found (recall)"]),
    ]
    lines += [f"| {row.text} | {row.n:,} | {_rate(row.recall)} |" for row in found.kinds]
    return [*lines, ""]


def _kept_lines(contest: Contest) -> list[str]:
    lines = [*header(["kept of", *KINDS])]
    for arm, kept in contest.kept.items():
        cells = [f"{100 * kept[kind]:.1f}" if kind in kept else "–" for kind in KINDS]
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return [*lines, ""]


def _answer_lines(contest: Contest) -> list[str]:
    lines = header(["question", "difference", "answer"])
    lines += [f"| {a.question} | {difference(a.found)} | {a.answer} |" for a in contest.answers]
    for arm, said in contest.keeps_more.items():
        lines.append(f"| does {arm} keep more data than less-is-more as robustly? | | {said} |")
    lines += [
        "",
        *header(["ignores without forgetting?", "repelled", "reads", "clean", "all three"]),
    ]
    lines += [
        f"| {row.arm} | {row.repelled} | {row.reads}: {difference(row.reading_kept)} | {row.clean} "
        f"| {row.verdict} |"
        for row in contest.forgetting
    ]
    winners = [row.arm for row in contest.forgetting if row.verdict == "yes"]
    unsure = [row.arm for row in contest.forgetting if row.verdict == "cannot tell"]
    named = ", ".join(winners) or "none"
    lines += [
        "",
        f"Ignores without forgetting: {named}; cannot be told: {', '.join(unsure) or 'none'}.",
    ]
    return [*lines, ""]


def _row(plan: ContestPlan, runs: Sequence[FinishedRun], arm: str) -> ArmRow:
    mine = [run for run in runs if run.arm == arm]
    ledger = mine[0].result["ledger"]
    pairs = sum(entry["n_usable"] for entry in ledger)
    drawn = sum(entry["n_drawn"] for entry in ledger)
    metrics = {name: estimate(mine, METRICS[name]) for name in _METRICS}
    return ArmRow(arm, pairs, drawn / pairs, metrics, {})


def _why_void(plan: ContestPlan, success: Estimate) -> str:
    if not plan.size.claims:
        return "this size tests the plumbing and claims nothing"
    if success.low < 2 * plan.chance:
        return f"`all` was not surely fooled twice as often as chance ({percent(success)})"
    return ""


def _rate(found: Rate) -> str:
    if found.n == 0:
        return "–"
    return f"{100 * found.value:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def _provenance(plan: ContestPlan) -> dict[str, Any]:
    commands = command_rows(plan.out / "commands.jsonl")
    script = f"bash scripts/tournament.sh --size {plan.size.name}"
    return {
        **provenance(script, plan.size.as_dict(), commands, _PACKAGES),
        "commands": commands,
    }
