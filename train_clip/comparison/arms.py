"""What is compared: arms that differ in what is meant to vary, and in nothing else."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from lesstext.storage.validation import validated
from train_clip.config import TrainConfig
from train_clip.errors import ConfigError

Subject = Literal["data", "objective"]
# The settings of each subject: which pairs are seen, and how they are shown; what is optimised.
SUBJECTS: dict[Subject, tuple[str, ...]] = {
    "data": ("sources", "image", "caption", "class_sampling"),
    "objective": ("loss", "loss_options"),
}
_NAME = re.compile(r"\w[\w .+-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonConfig:
    """What to compare: one TrainConfig per arm (its seed is replaced by each of `seeds`).

    `vary` says in what the arms may differ.
    """

    arms: dict[str, TrainConfig]
    seeds: tuple[int, ...]
    baseline: str
    vary: tuple[Subject, ...] = ("data",)

    def __post_init__(self) -> None:
        if len(self.arms) < 2:
            raise ConfigError(f"a comparison needs at least two arms, got {', '.join(self.arms)}")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ConfigError(f"seeds must be given, each once: {self.seeds}")
        if self.baseline not in self.arms:
            raise ConfigError(f"the baseline {self.baseline!r} is no arm: {', '.join(self.arms)}")
        first = self.arms[self.baseline]
        for name, arm in self.arms.items():
            if not _NAME.fullmatch(name):
                raise ConfigError(f"an arm's name becomes a folder's; {name!r} cannot")
            if differing := settings_that_differ(first, arm, self.vary):
                raise ConfigError(
                    f"arm {name!r} differs from {self.baseline!r} in more than "
                    f"{' and '.join(self.vary)}: {', '.join(differing)}"
                )


def settings_that_differ(a: TrainConfig, b: TrainConfig, vary: Sequence[Subject]) -> list[str]:
    """Names of the settings in which two arms differ, other than those of `vary`."""
    names = [f.name for f in fields(TrainConfig) if f.name not in _settings_of(vary)]
    return [name for name in names if getattr(a, name) != getattr(b, name)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """A comparison as its file holds it."""

    arms: dict[str, dict[str, Any]]
    common: dict[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0,)
    baseline: str | None = None
    vary: tuple[Subject, ...] = ("data",)

    __pydantic_config__ = TrainConfig.__pydantic_config__


def load_comparison(path: Path) -> ComparisonConfig:
    """Read a TOML (or JSON) file with `seeds`, `[common]` and one `[arms.NAME]` per arm.

    `vary = ["objective"]` lets arms differ in what they optimise, in the place of their data;
    `["data", "objective"]` in both. Raises ConfigError for an arm that sets anything else.
    """
    found = validated(_File, _read_as_json(path), str(path), ConfigError)
    if "passes" in found.common:
        raise ConfigError(f"{path}: arms of different size pass at different speed; give steps")
    arms = {name: _arm(path, name, found) for name in found.arms}
    try:
        return ComparisonConfig(
            arms=arms,
            seeds=found.seeds,
            baseline=next(iter(arms), "") if found.baseline is None else found.baseline,
            vary=found.vary,
        )
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _arm(path: Path, name: str, file: _File) -> TrainConfig:
    arm = file.arms[name]
    foreign = sorted(set(arm) - _settings_of(file.vary))
    if foreign:
        known = ", ".join(sorted(_settings_of(file.vary)))
        raise ConfigError(
            f"{path}: arm {name!r} sets {', '.join(foreign)}; arms differ in "
            f"{' and '.join(file.vary)} only ({known}), all else belongs under [common]"
        )
    text = json.dumps({**file.common, **arm}, default=str)
    return validated(TrainConfig, text, f"{path}: arm {name!r}", ConfigError)


def _settings_of(vary: Sequence[Subject]) -> set[str]:
    return {name for subject in vary for name in SUBJECTS[subject]}


def _read_as_json(path: Path) -> str:
    """The file's text as JSON; raises ConfigError where it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            return text
        return json.dumps(_parse_toml(text), default=str)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the comparison {path}: {error}") from error


def _parse_toml(text: str) -> Any:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(text)
