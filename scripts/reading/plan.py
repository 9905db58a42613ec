"""What is run: a size, the selectors, and where everything lies."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from reproduction.plan import Plan, Size, read_size

from lesstext.errors import UsageError

SIZES = Path(__file__).parent / "sizes.toml"
READER, FILTERED = "all", ("filtered", "less-is-more")
"""The arm that learns to read, and the arm of what the filter kept: in a reproduction, in a
tournament."""
MODEL_TEMPLATES = ("a photo of a {name}", "a photo of the {name}", "this photo shows a {name}")
BLIND_TEMPLATES = ("{name}",)


class Way(NamedTuple):
    """A way to select: by a model that has learnt to read, by one of what the filter kept, or by a
    classifier that cannot read; on images as they are, or with their text hidden."""

    model: str
    hides: bool


WAYS = {
    "reading": Way("reader", False),
    "hidden": Way("reader", True),
    "filtered": Way("filtered", False),
    "blind": Way("classifier", False),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadingSize:
    """One size of the experiment, as `sizes.toml` describes it.

    `models` are the corpus, attack and training of the models that select, `photos` and `cartons`
    what is selected for, `training` the settings of the runs on their labels.
    """

    name: str
    claims: bool
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    jobs: int
    photos: dict[str, Any]
    detector: dict[str, Any]
    fill: str
    models: dict[str, Any]
    cartons: dict[str, Any]
    training: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def of_models(self) -> Size:
        """The reproduction of which the models are arms."""
        return Size(
            name=self.name,
            claims=self.claims,
            arms=(READER, FILTERED[0]),
            seeds=self.seeds,
            jobs=self.jobs,
            detector=self.detector,
            **self.models,
        )


@dataclass(frozen=True, slots=True)
class Models:
    """The folder of a reproduction or a tournament, or one of our own: runs, corpus and attack."""

    plan: Plan

    @property
    def pilot(self) -> Path:
        return self.plan.pilot

    @property
    def n_fonts(self) -> int:
        said = json.loads((self.plan.corpus / "corpus.json").read_text(encoding="utf-8"))
        return int(said["settings"]["n_fonts"])

    @property
    def evaluation(self) -> dict[str, Any]:
        """Clean and attacked photos, as settings of train_clip."""
        measured = self.plan.evaluation
        return {name: value for name, value in measured.items() if name != "retrieval"}

    def run(self, model: str, seed: int) -> Path:
        """The run of a `reader` or a `filtered` model."""
        arms = (READER,) if model == "reader" else FILTERED
        places = [self.plan.runs / arm / f"seed{seed}" for arm in arms]
        return next((place for place in places if place.exists()), places[0])

    def check(self) -> None:
        """Raise UsageError where something that is needed is not in the folder."""
        runs = [
            self.run(model, seed)
            for model in ("reader", "filtered")
            for seed in self.plan.size.seeds
        ]
        results = [run / "result.json" for run in (self.pilot, *runs)]
        for path in (self.plan.classes, self.plan.attr / "attacked", *results):
            if not path.exists():
                raise UsageError(f"--models {self.plan.out}: {path} is missing")


@dataclass(frozen=True, slots=True)
class ReadingPlan:
    """A size and the folder that it is run in; `given` is that of finished models, if any."""

    size: ReadingSize
    out: Path
    given: Path | None = None

    @property
    def models(self) -> Models:
        return Models(Plan(self.size.of_models, self.given or self.out / "models"))

    @property
    def scenes(self) -> Lot:
        """Photos of the ten classes, clean and with the word of another."""
        return Lot(self.out / "scenes")

    @property
    def cartons(self) -> Lot:
        """Photos of groceries, on which the words are true."""
        return Lot(self.out / "cartons")

    @property
    def runs(self) -> Path:
        """What was trained on each set of labels."""
        return self.out / "runs"

    @property
    def results(self) -> Path:
        return self.out / "results"

    def commands(self, stage: str) -> Path:
        """The log of a stage's commands."""
        return self.out / "commands" / f"{stage}.jsonl"

    def picks(self, way: str, seed: int) -> Path:
        return self.scenes.folder / "picks" / way / f"seed{seed}"

    def seeds_of(self, way: str) -> tuple[int, ...]:
        """The classifier is one, whatever the seed."""
        return self.size.seeds[:1] if WAYS[way].model == "classifier" else self.size.seeds

    def labels(self, way: str) -> Path:
        """Labels by the first seed's picks; each has a folder, for its vocabulary."""
        return self.out / "labels" / way / "labels.parquet"

    def carton_model(self, seed: int) -> Path:
        return self.cartons.folder / "models" / f"seed{seed}"

    def carton_picks(self, way: str, seed: int) -> Path:
        return self.cartons.folder / "picks" / way / f"seed{seed}"


@dataclass(frozen=True, slots=True)
class Lot:
    """Shards whose alt-texts name what is shown and two others, and what is known of them."""

    folder: Path

    @property
    def shards(self) -> Path:
        return self.folder / "shards"

    @property
    def train(self) -> Path:
        """Captioned photos that a model of its own is trained on, if it has one."""
        return self.folder / "train"

    @property
    def truth(self) -> Path:
        """What each photo shows; no command reads it."""
        return self.folder / "truth.parquet"

    @property
    def kb(self) -> Path:
        return self.folder / "kb.parquet"

    @property
    def mentions(self) -> Path:
        return self.folder / "mentions"

    @property
    def scores(self) -> Path:
        return self.folder / "scores"


def load_reading(name: str) -> ReadingSize:
    """A size of the experiment; ends the program for an unknown name."""
    return ReadingSize(**read_size(SIZES, name))
