"""What is run: a size of the tournament, and where its tables, cards and answers lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reproduction.plan import Plan, Size, read_size

SIZES = Path(__file__).parent / "sizes.toml"
# What a rule by the truth drops: text that stands in the caption, and captions that do not fit.
ORACLE = "meta.kind = 'clean' or meta.kind = 'unrelated'"


@dataclass(frozen=True, kw_only=True, slots=True)
class ContestSize(Size):
    """A size of the tournament: `policies` holds, by arm, the options of `lesstext select`;
    `cards_per_class` renderings of each class name test reading."""

    policies: dict[str, list[str]]
    cards_per_class: int


@dataclass(frozen=True, slots=True)
class ContestPlan(Plan):
    """A size and the folder that it is run in."""

    size: ContestSize

    def table(self, annotator: str) -> Path:
        """An annotator's tables of the training shards; the score table is where the
        reproduction has it."""
        return self.scores / "train" if annotator == "text_area" else self.out / annotator

    def reading(self, arm: str, seed: int) -> Path:
        """Which cards a run reads."""
        return self.out / "reading" / arm / f"seed{seed}.npz"

    @property
    def own_arms(self) -> dict[str, dict[str, Any]]:
        """`masked-parrot` hides only the words that stand in the caption."""
        source = {"data": str(self.train_shards), "words": str(self.table("words"))}
        image = {"text_mask": "mean", "masked_regions": "repeated"}
        return {"masked-parrot": {"sources": [source], "image": image}}

    @property
    def selecting(self) -> dict[str, list[str]]:
        """The options of `lesstext select` that make the selection of each arm that has one."""
        oracle = ["--metadata", str(self.truth), "--where", ORACLE]
        return {**self.size.policies, "oracle": oracle}


def load_contest(name: str) -> ContestSize:
    """A size of the tournament; ends the program for an unknown name."""
    return ContestSize(**read_size(SIZES, name))
