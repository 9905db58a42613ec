"""The questions about entities, their margins, and how figures answer them.

Written before any arm was trained, the pilot's included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from reproduction.measures import Estimate
from reproduction.report import answer
from reproduction.report import difference as told

from mofi.figures import difference
from mofi.plan import Trial

Metric = Literal["mAP", "zero_shot"]
MARGINS: dict[Metric, float] = {"mAP": 0.01, "zero_shot": 0.03}
"""What "no worse" leaves, in points of 1."""


@dataclass(frozen=True, slots=True)
class Question:
    """One comparison; `claim` is the letter of the claim that it is part of."""

    claim: str
    text: str
    base: str
    arm: str
    metric: Metric
    wanted: str

    def ask(self, trial: Trial) -> Answer:
        found = difference(trial, self.metric, self.base, self.arm)
        return Answer(self, answer(self.wanted, found, MARGINS[self.metric]), found)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the figures say, and the difference that it rests on."""

    question: Question
    answer: str
    found: Estimate


CLAIMS = {
    "a": "entity text beats alt-text, on retrieval and zero-shot",
    "b": "sorting into entities beats matching their texts, on retrieval",
    "c": "both together are no worse than either: than sorting on retrieval, than matching on "
    "zero-shot",
    "control": "selected labels beat shuffled ones, on retrieval and zero-shot",
}
QUESTIONS = (
    Question("a", "does entity-text beat alt on mAP?", "alt", "entity-text", "mAP", "better"),
    Question(
        "a", "does entity-text beat alt on zero-shot?", "alt", "entity-text", "zero_shot", "better"
    ),
    Question("b", "does entity beat entity-text on mAP?", "entity-text", "entity", "mAP", "better"),
    Question(
        "c", "is multitask no worse than entity on mAP?", "entity", "multitask", "mAP", "no worse"
    ),
    Question(
        "c",
        "is multitask no worse than entity-text on zero-shot?",
        "entity-text",
        "multitask",
        "zero_shot",
        "no worse",
    ),
    Question(
        "control", "does multitask beat shuffled on mAP?", "shuffled", "multitask", "mAP", "better"
    ),
    Question(
        "control",
        "does multitask beat shuffled on zero-shot?",
        "shuffled",
        "multitask",
        "zero_shot",
        "better",
    ),
)
COSTS = (
    Question("cost", "does true beat multitask on mAP?", "multitask", "true", "mAP", "better"),
    Question(
        "cost", "does true beat multitask on zero-shot?", "multitask", "true", "zero_shot", "better"
    ),
)
"""What wrong labels cost; no claim rests on it."""


def answers(trial: Trial, asked: Sequence[Question]) -> list[Answer]:
    return [question.ask(trial) for question in asked]


def verdict(given: Sequence[Answer], claim: str) -> str:
    """Yes where every part of a claim is, no where one is not, else that it cannot be told."""
    parts = [one.answer for one in given if one.question.claim == claim]
    if "no" in parts:
        return "no"
    return "yes" if all(part.startswith("yes") for part in parts) else "cannot tell"


def separates(found: Estimate) -> bool:
    """Whether a difference is surely one.

    >>> separates(Estimate(0.1, 0.05, 0.15)), separates(Estimate(0.1, -0.05, 0.15))
    (True, False)
    """
    return found.low > 0 or found.high < 0


def pilot_answers(pilot: Trial) -> list[Answer]:
    """The differences of the pilot, on true labels."""
    asked = [q for q in QUESTIONS if q.arm in pilot.arms and q.base in pilot.arms]
    return answers(pilot, asked)


def pilot_lines(pilot: Trial) -> list[str]:
    """Which arms the size tells apart where no label is wrong, for people."""
    seeds = ", ".join(map(str, pilot.seeds))
    lines = [f"Pilot (true labels, seed {seeds}; differences in points, 95% intervals):", ""]
    for one in pilot_answers(pilot):
        apart = "told apart" if separates(one.found) else "not told apart"
        asked = one.question
        lines.append(
            f"- {asked.arm} minus {asked.base}, {asked.metric}: {told(one.found)}: {apart}"
        )
    return lines
