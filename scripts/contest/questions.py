"""The questions of the tournament, their margins, and how figures answer them.

Written before any arm but the pilot was trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from reproduction.measures import Estimate, compared
from reproduction.report import MARGIN, Answer, answer

from attr_builder.evaluation.statistics import bootstrap_interval
from contest.plan import ContestPlan
from train_clip.comparison.results import FinishedRun

POLICIES = ("less-is-more", "t-mars", "parrot", "clip-score")
MAX_SUCCESS = 0.10
MIN_READING = 0.80


@dataclass(frozen=True, slots=True)
class Forgetting:
    """Whether an arm ignores text without having forgotten how to read.

    `repelled`: attacks succeed at most MAX_SUCCESS of the time. `reads`: its reading score minus
    MIN_READING times that of `all`, paired by card and seed, is not below 0. `clean`: no worse
    than `all` on clean photos.
    """

    arm: str
    repelled: str
    reads: str
    clean: str
    reading_kept: Estimate

    @property
    def verdict(self) -> str:
        """Yes where all three hold, no where one does not, else that it cannot be told."""
        parts = [self.repelled, self.reads, self.clean]
        if any(part == "no" for part in parts):
            return "no"
        return "yes" if all(part.startswith("yes") for part in parts) else "cannot tell"


def answers(runs: Sequence[FinishedRun], arms: Sequence[str]) -> list[Answer]:
    """Every question that two arms answer, with the difference that it rests on."""
    asked = []
    for arm in (name for name in arms if name != "all"):
        asked += [
            (f"does {arm} beat all under attack?", "all", arm, "attacked", "better"),
            (f"is {arm} fooled less than all?", "all", arm, "success", "less"),
            (f"is {arm} no worse than all on clean?", "all", arm, "clean", "no worse"),
        ]
    for arm in (name for name in arms if name in POLICIES):
        asked += [
            (f"does {arm} beat random under attack?", "random", arm, "attacked", "better"),
            (f"does {arm} beat random on clean?", "random", arm, "clean", "better"),
            (f"is {arm} as good as oracle under attack?", "oracle", arm, "attacked", "no worse"),
            (f"is {arm} as good as oracle on clean?", "oracle", arm, "clean", "no worse"),
        ]
    for arm in ("parrot", "t-mars"):
        base = "less-is-more"
        asked.append(
            (f"is {arm} as robust as {base} under attack?", base, arm, "attacked", "no worse")
        )
        asked.append((f"is {arm} as good as {base} on clean?", base, arm, "clean", "no worse"))
    found = [(text, wanted, compared(runs, *of)) for text, *of, wanted in asked]
    return [
        Answer(text, answer(wanted, difference), difference) for text, wanted, difference in found
    ]


def keeps_more(pairs: dict[str, int], given: Sequence[Answer], arm: str) -> str:
    """Whether a policy keeps more data than less-is-more at the same robustness."""
    (as_robust,) = [
        one.answer
        for one in given
        if one.question == f"is {arm} as robust as less-is-more under attack?"
    ]
    if pairs[arm] <= pairs["less-is-more"] or as_robust == "no":
        return "no"
    return "yes" if as_robust.startswith("yes") else "cannot tell"


def forgetting(
    plan: ContestPlan, success: dict[str, Estimate], given: Sequence[Answer]
) -> list[Forgetting]:
    """Of each arm but `all`."""
    rows = []
    for arm in (name for name in plan.size.arms if name != "all"):
        kept = reading_kept(plan, arm)
        (clean,) = [
            one.answer for one in given if one.question == f"is {arm} no worse than all on clean?"
        ]
        rows.append(
            Forgetting(arm, at_most(success[arm], MAX_SUCCESS), not_below(kept), clean, kept)
        )
    return rows


def reading_kept(plan: ContestPlan, arm: str) -> Estimate:
    """An arm's reading score minus MIN_READING times that of `all`."""
    gains = np.stack(
        [
            cards(plan, arm, seed)[0] - MIN_READING * cards(plan, "all", seed)[0]
            for seed in plan.size.seeds
        ]
    )
    low, high = bootstrap_interval(gains, cards(plan, "all", plan.size.seeds[0])[1])
    return Estimate(float(gains.mean()), low, high, tuple(gains.mean(axis=1).tolist()))


def reading(plan: ContestPlan, arm: str) -> Estimate:
    """An arm's reading score: mean over seeds, the interval over class names and seeds."""
    rows = np.stack([cards(plan, arm, seed)[0] for seed in plan.size.seeds])
    low, high = bootstrap_interval(rows, cards(plan, arm, plan.size.seeds[0])[1])
    return Estimate(float(rows.mean()), low, high, tuple(rows.mean(axis=1).tolist()))


def cards(
    plan: ContestPlan, arm: str, seed: int
) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], list[str]]:
    """Which cards (n,) a run reads, as 0 or 1, and the name on each."""
    with np.load(plan.reading(arm, seed)) as stored:
        return stored["right"].astype(np.float64), [str(name) for name in stored["name"]]


def at_most(found: Estimate, bound: float) -> str:
    """Whether a share is at most `bound`, from where its interval lies.

    >>> at_most(Estimate(0.05, 0.02, 0.08), 0.1), at_most(Estimate(0.09, 0.05, 0.13), 0.1)
    ('yes', 'cannot tell')
    """
    if found.high <= bound:
        return "yes"
    return "no" if found.low > bound else "cannot tell"


def not_below(found: Estimate, bound: float = 0.0) -> str:
    """Whether a figure is at least `bound`.

    >>> not_below(Estimate(0.1, 0.0, 0.2)), not_below(Estimate(-0.2, -0.3, -0.1))
    ('yes', 'no')
    """
    if found.low >= bound:
        return "yes"
    return "no" if found.high < bound else "cannot tell"


MARGINS = (
    f"No worse leaves {100 * MARGIN:g} points; an attack is repelled where it succeeds at most "
    f"{100 * MAX_SUCCESS:g}% of the time; reading is kept at {100 * MIN_READING:g}% of that of "
    "`all`."
)
