"""The questions about selectors that read, their margins, and how figures answer them.

Written before any selector but a pilot was looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from contest.questions import at_most, not_below
from reproduction.measures import Estimate
from reproduction.report import answer

from reading.kept import Kept, excess, gain, ratio, share

FOOLED_TIMES = 3.0
"""The experiment starts where a printed rival is kept at least so many times as often."""
REPAIRED_TIMES = 1.5
"""Hiding the text repairs where it is kept at most so many times as often."""
TRUE_MARGIN = 0.05
"""Of the true entities at most so much may be lost."""
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether the pilot keeps printed rivals; shares of samples."""

    printed: float
    clean: float
    times: float

    @property
    def passed(self) -> bool:
        return self.printed > 0 and self.printed >= FOOLED_TIMES * self.clean - _ROUNDING

    @property
    def text(self) -> str:
        return (
            f"the reading selector keeps a wrong entity in {self.printed:.3f} of the images where "
            f"its word is printed, in {self.clean:.3f} where it is not: {self.times:.2f} times as "
            f"often ({FOOLED_TIMES:g} times is asked)"
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """A question, what the figures say, and the difference that it rests on."""

    question: str
    answer: str
    found: Estimate


def gate(pilot: Kept) -> Gate:
    """What the pilot's picks show."""
    printed, clean = (share(pilot, Kept.first, "rival", v).mean for v in ("printed", "clean"))
    return Gate(printed, clean, ratio(pilot))


def answers(kept: Mapping[str, Kept]) -> list[Answer]:
    """All questions that the ways to select answer."""
    found = excess(kept["reading"], FOOLED_TIMES)
    asked = [
        Answer(
            f"does reading keep a printed wrong entity {FOOLED_TIMES:g} times as often or more?",
            not_below(found),
            found,
        )
    ]
    for way in (name for name in kept if name != "reading"):
        left = excess(kept[way], REPAIRED_TIMES)
        text = f"does {way} keep it at most {REPAIRED_TIMES:g} times as often?"
        asked.append(Answer(text, at_most(left, 0.0), left))
    for variant in ("clean", "printed"):
        lost = gain(kept["reading"], kept["hidden"], "true", variant)
        text = f"does hidden keep as many true entities as reading on {variant} images?"
        asked.append(Answer(text, answer("no worse", lost, TRUE_MARGIN), lost))
    return asked


def repaired(given: list[Answer]) -> str:
    """Whether hiding the text repairs the reading selector: yes where all parts are, no where one
    is not."""
    parts = [one.answer for one in given if "hidden" in one.question]
    if "no" in parts:
        return "no"
    return "yes" if all(part.startswith("yes") for part in parts) else "cannot tell"
