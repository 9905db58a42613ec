"""What is run: a size, the arms, and where everything lies."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from reproduction.plan import read_size

from lesstext.storage.files import write_text

SIZES = Path(__file__).parent / "sizes.toml"


class Arm(NamedTuple):
    """What an arm minimises, of which labels."""

    loss: str
    options: dict[str, Any]
    labels: str


_TEXTS: dict[str, Any] = {"text": "entity"}
_BOTH = {**_TEXTS, "entity_weight": 1.0}
ARMS = {
    "alt": Arm("clip", {}, "none"),
    "entity-text": Arm("contrastive", _TEXTS, "selected"),
    "entity": Arm("entity", {}, "selected"),
    "multitask": Arm("multitask", _BOTH, "selected"),
    "shuffled": Arm("multitask", _BOTH, "shuffled"),
    "true": Arm("multitask", _BOTH, "true"),
}
CONTROLS = ("shuffled", "true")
"""Controls of labels, not of losses."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MofiSize:
    """One size of the experiment, as `sizes.toml` describes it.

    `corpus` are settings of CorpusConfig, `pick` and `label` options of their commands, `train` the
    settings of all runs. The pilot trains the arms that are no controls, on true labels.
    """

    name: str
    claims: bool
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    pilot_seeds: list[int]
    jobs: int
    corpus: dict[str, Any]
    pick: dict[str, Any]
    label: dict[str, Any]
    train: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class MofiPlan:
    """A size and the folder that it is run in."""

    size: MofiSize
    out: Path

    @property
    def corpus(self) -> Path:
        return self.out / "corpus"

    @property
    def shards(self) -> Path:
        return self.corpus / "train"

    @property
    def classes(self) -> Path:
        """The classes trained on."""
        return self.corpus / "classes.csv"

    @property
    def heldout(self) -> Path:
        """Photos of the classes trained on that no arm sees."""
        return self.corpus / "heldout"

    @property
    def unseen(self) -> Path:
        """Photos of classes that no arm sees."""
        return self.corpus / "unseen"

    @property
    def truth(self) -> Path:
        return self.corpus / "truth.parquet"

    @property
    def mentions(self) -> Path:
        return self.out / "mentions"

    @property
    def picks(self) -> Path:
        return self.out / "picks"

    @property
    def results(self) -> Path:
        return self.out / "results"

    def labels(self, kind: str) -> Path:
        """`selected`, `shuffled` or `true` ones; each has a folder, for its vocabulary."""
        return self.out / "labels" / kind / "labels.parquet"

    @property
    def trial(self) -> Trial:
        """The arms that answer the questions."""
        return Trial(self, "runs", self.size.arms, self.size.seeds, None)

    @property
    def pilot(self) -> Trial:
        """The arms that are no controls, on true labels and with seeds of their own."""
        arms = tuple(arm for arm in self.size.arms if arm not in CONTROLS)
        return Trial(self, "pilot", arms, tuple(self.size.pilot_seeds), "true")


@dataclass(frozen=True, slots=True)
class Trial:
    """Some arms trained alike; `labels` are the labels of all of them, None those of the arm."""

    plan: MofiPlan
    name: str
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    labels: str | None

    @property
    def folder(self) -> Path:
        return self.plan.out / self.name

    @property
    def settings(self) -> Path:
        return self.plan.out / f"{self.name}.json"

    def run(self, arm: str, seed: int) -> Path:
        return self.folder / arm / f"seed{seed}"

    def retrieval(self, arm: str, seed: int) -> Path:
        """What `attr-builder evaluate` says of a run on the classes that no arm sees."""
        return self.plan.out / "retrieval" / self.name / arm / f"seed{seed}"

    def by_text(self, arm: str, seed: int) -> Path:
        """Which held-out photos a run names by the texts of entities."""
        return self.plan.out / "by_text" / self.name / arm / f"seed{seed}.npz"

    def labels_of(self, arm: str) -> str:
        """The kind of labels that an arm is trained on."""
        own = ARMS[arm].labels
        return own if self.labels is None or own == "none" else self.labels

    def write_settings(self) -> None:
        """The comparison that `train-clip compare` runs."""
        plan = self.plan
        evaluation = {
            **plan.size.train["evaluation"],
            "zeroshot": str(plan.heldout),
            "classes": str(plan.classes),
        }
        comparison = {
            "seeds": self.seeds,
            "baseline": self.arms[0],
            "vary": ["data", "objective"],
            "common": {**plan.size.train, "evaluation": evaluation},
            "arms": {arm: self._settings_of(arm) for arm in self.arms},
        }
        write_text(self.settings, json.dumps(comparison, indent=2) + "\n", unguarded=True)

    def _settings_of(self, arm: str) -> dict[str, Any]:
        """Every arm reads the images that have a selected label."""
        source = {"data": str(self.plan.shards), "selection": str(self.plan.labels("selected"))}
        labels = self.labels_of(arm)
        if labels != "none":
            source["labels"] = str(self.plan.labels(labels))
        return {"sources": [source], "loss": ARMS[arm].loss, "loss_options": ARMS[arm].options}


def load_mofi(name: str) -> MofiSize:
    """A size of the experiment; ends the program for an unknown name."""
    return MofiSize(**read_size(SIZES, name))
