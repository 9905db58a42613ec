"""What is run: the three sizes, where everything lies, the arms, and the pilot's verdict."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lesstext.storage.files import write_text

# The pilot must be fooled three times as often as chance would have it, and see well above chance.
PILOT_SUCCESS, PILOT_CLEAN = 3.0, 2.0
_ROUNDING = 1e-9
AUGMENTATION = {"flip_prob": 0.5, "jitter": [0.4, 0.4, 0.4, 0.1], "randaugment": [2, 9.0]}


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """One size of the experiment, as `sizes.toml` describes it."""

    name: str
    claims: bool
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    jobs: int
    corpus: dict[str, Any]
    attack: dict[str, Any]
    detector: dict[str, Any]
    max_text_area: float
    train: dict[str, Any]
    pilot_seed: int = 1000

    @property
    def templates(self) -> int:
        return int(self.train["evaluation"]["templates"])

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Plan:
    """A size and the folder it is run in."""

    size: Size
    out: Path

    @property
    def corpus(self) -> Path:
        return self.out / "corpus"

    @property
    def train_shards(self) -> Path:
        return self.corpus / "train"

    @property
    def val(self) -> Path:
        return self.corpus / "val"

    @property
    def classes(self) -> Path:
        return self.corpus / "classes.csv"

    @property
    def truth(self) -> Path:
        return self.corpus / "truth"

    @property
    def attr(self) -> Path:
        return self.out / "attr"

    @property
    def pilot(self) -> Path:
        return self.out / "pilot"

    @property
    def scores(self) -> Path:
        return self.out / "scores"

    @property
    def arms(self) -> Path:
        return self.out / "arms.json"

    @property
    def runs(self) -> Path:
        return self.out / "runs"

    @property
    def results(self) -> Path:
        return self.out / "results"

    @property
    def own_arms(self) -> dict[str, dict[str, Any]]:
        """Arms that a kind of plan has beside those of `arm_settings`, in the same form."""
        return {}

    def selection(self, name: str) -> Path:
        return self.out / "selections" / f"{name}.parquet"

    def control(self, arm: str, seed: int) -> Path:
        return self.out / "controls" / arm / f"seed{seed}"

    @property
    def evaluation(self) -> dict[str, Any]:
        """The evaluation of every run, as train_clip's settings name it."""
        return {
            **self.size.train["evaluation"],
            "zeroshot": str(self.val),
            "attacked": str(self.attr / "attacked"),
            "classes": str(self.classes),
            "retrieval": str(self.corpus / "heldout"),
        }

    @property
    def evaluation_options(self) -> dict[str, Any]:
        """The same as options of `train-clip train`."""
        return {f"eval-{name}": value for name, value in self.evaluation.items()}

    @property
    def chance(self) -> float:
        """The accuracy of guessing."""
        return 1 / (len(self.classes.read_text(encoding="utf-8").splitlines()) - 1)


@dataclass(frozen=True, slots=True)
class Gate:
    """The pilot's figures and verdict."""

    clean: float
    attacked: float
    success: float
    chance: float

    @property
    def passed(self) -> bool:
        reads = self.success >= PILOT_SUCCESS * self.chance - _ROUNDING
        return reads and self.clean >= PILOT_CLEAN * self.chance - _ROUNDING

    @property
    def text(self) -> str:
        verdict = "has learnt to read" if self.passed else "has not learnt to read"
        return (
            f"all {verdict}: clean {self.clean:.3f}, attacked {self.attacked:.3f}, attack success "
            f"{self.success:.3f} (chance {self.chance:.3f}; {PILOT_SUCCESS:g} times that is asked)"
        )


def read_size(path: Path, name: str) -> dict[str, Any]:
    """One table of a `sizes.toml`, as fields of a Size; ends the program for an unknown name."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    sizes = tomllib.loads(path.read_text(encoding="utf-8"))
    if name not in sizes:
        raise SystemExit(f"--size must be one of {', '.join(sizes)}, got {name!r}")
    values = sizes[name]
    return {**values, "name": name, "arms": tuple(values["arms"]), "seeds": tuple(values["seeds"])}


def load_size(path: Path, name: str) -> Size:
    """A size of the reproduction; ends the program for an unknown name."""
    return Size(**read_size(path, name))


def with_arms(size: Size, further: str) -> Size:
    """The size with further arms (comma-separated); ends the program for one it cannot train."""
    names = [name.strip() for name in further.split(",") if name.strip()]
    possible = ["masked", "augment", *(["pool"] if "extra-share" in size.corpus else [])]
    unknown = [name for name in names if name not in possible]
    if unknown:
        raise SystemExit(
            f"--also takes {', '.join(possible)} at size {size.name}, got {unknown[0]!r}"
        )
    return replace(size, arms=tuple(dict.fromkeys([*size.arms, *names])))


def gate(plan: Plan) -> Gate:
    """What the finished pilot showed."""
    found = json.loads((plan.pilot / "result.json").read_text(encoding="utf-8"))["evaluation"]
    return Gate(
        clean=found["clean_top1"],
        attacked=found["attacked_top1"],
        success=found["attacked_attack_success"],
        chance=plan.chance,
    )


def arm_settings(plan: Plan, arm: str) -> dict[str, Any]:
    """What is special about an arm: its sources, or how its images are shown."""
    train = {"data": str(plan.train_shards)}
    scores = str(plan.scores / "train")
    filtered = {**train, "selection": str(plan.selection("filtered"))}
    extra = {"data": str(plan.corpus / "extra"), "selection": str(plan.selection("extra"))}
    known: dict[str, dict[str, Any]] = {
        "all": {"sources": [train]},
        "control": {"sources": [{**train, "selection": str(plan.selection("filtered.control"))}]},
        "masked": {"sources": [{**train, "scores": scores}], "image": {"text_mask": "mean"}},
        "pool": {"sources": [filtered, extra]},
        "augment": {"sources": [train], "image": AUGMENTATION},
        **plan.own_arms,
    }
    return known.get(arm, {"sources": [{**train, "selection": str(plan.selection(arm))}]})


def write_arms(plan: Plan) -> None:
    """The comparison that `train-clip compare` runs."""
    comparison = {
        "seeds": plan.size.seeds,
        "baseline": "all",
        "common": {**plan.size.train, "evaluation": plan.evaluation},
        "arms": {arm: arm_settings(plan, arm) for arm in plan.size.arms},
    }
    write_text(plan.arms, json.dumps(comparison, indent=2) + "\n", unguarded=True)
