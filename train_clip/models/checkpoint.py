"""Everything a run needs to go on bit-exactly, in one file that is whole or absent.

The stream position is the step, and the random state of a step is derived from (seed, step,
rank), so neither can be lost or drift; weights, optimiser, scaler, averaged weights and counters
are stored. `state_dict` holds the weights under the name by which open_clip finds them.
"""

from __future__ import annotations

import logging
import pickle
import random
import re
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lesstext.storage.files import atomic_path, remove_leftovers
from train_clip.errors import CheckpointError

log = logging.getLogger(__name__)

FORMAT = 2
_NAME = re.compile(r"step_(\d{8})\.pt")


@dataclass(slots=True)
class Counters:
    """What a run has done so far, over all ranks and resumptions.

    `adjustments` corrects the planned draws of the ledger: by how much the uses of a sample
    (source, index) changed because it was replaced, or put in for another.
    """

    updates: int = 0
    samples: int = 0
    bad: int = 0
    text_hidden: int = 0
    train_s: float = 0.0
    wait_s: float = 0.0
    adjustments: dict[tuple[int, int], int] = field(default_factory=dict)


@dataclass(slots=True)
class Snapshot:
    """One checkpoint's contents; `step` is the number of finished steps.

    `objective` holds its own parameters, and is left out of the file where it has none. `shards`
    says how many files beside hold more of them (`n`), and the `mark` that they carry.
    """

    step: int
    state_dict: dict[str, Any]
    optimizer: dict[str, Any]
    scaler: dict[str, Any]
    averaged: dict[str, Any] | None
    counters: Counters
    config_json: str
    model_json: str
    data_digests: list[str]
    initial_weights: str
    objective: dict[str, Any] | None = None
    shards: dict[str, Any] | None = None


class CheckpointStore:
    """The last `keep` checkpoints of a run, in one folder."""

    def __init__(self, folder: Path, keep: int) -> None:
        self._folder = folder
        self._keep = keep

    def save(self, snapshot: Snapshot) -> Path:
        """Write a checkpoint, then delete the oldest beyond `keep`.

        Later ones, damaged or of a future that was given up, are left to be overwritten. Raises
        CheckpointError when it cannot be written; the earlier ones are then untouched.
        """
        target = self._folder / f"step_{snapshot.step:08d}.pt"
        contents = {f: getattr(snapshot, f) for f in Snapshot.__slots__}
        contents["counters"] = asdict(snapshot.counters)
        contents["format"] = FORMAT
        for name in ("objective", "shards"):
            if contents[name] is None:
                del contents[name]
        self._write(target, contents)
        upto = [path for path in self.paths() if path.name <= target.name]
        for old in upto[: -self._keep]:
            old.unlink()
        self._remove_stray_shards(snapshot)
        return target

    def save_shard(self, step: int, number: int, n: int, mark: str, contents: Any) -> None:
        """Write one rank's part of a checkpoint, which is whole once `save` has named its mark."""
        target = shard_path(self._folder / f"step_{step:08d}.pt", number, n)
        self._write(target, {"mark": mark, "contents": contents})

    def load_shards(self, snapshot: Snapshot) -> list[dict[str, Any]]:
        """The parts of all ranks, mapped into memory; raises CheckpointError for a foreign one."""
        path = self._folder / f"step_{snapshot.step:08d}.pt"
        found = snapshot.shards
        if found is None:
            return []
        return [
            load_shard(shard_path(path, i, found["n"]), found["mark"]) for i in range(found["n"])
        ]

    def _write(self, target: Path, contents: Any) -> None:
        try:
            with atomic_path(target) as partial, partial.open("wb") as file:
                torch.save(contents, file)
        except (OSError, RuntimeError) as error:
            raise CheckpointError(f"cannot write {target}: {error}; {self._survivor()}") from error

    def _remove_stray_shards(self, snapshot: Snapshot) -> None:
        """Shards of checkpoints that are gone, or were never whole, and of other ranks' runs."""
        kept = {path.stem for path in self.paths()}
        n = (snapshot.shards or {}).get("n")
        for path in self._folder.glob("step_*.shard"):
            step, of = path.name.split(".")[0], path.name.rsplit("_", 1)[1]
            ours = step != f"step_{snapshot.step:08d}" or of == f"{n}.shard"
            if step not in kept or not ours:
                path.unlink(missing_ok=True)

    def paths(self) -> list[Path]:
        """All checkpoints, oldest first."""
        if not self._folder.is_dir():
            return []
        return sorted(path for path in self._folder.iterdir() if _NAME.fullmatch(path.name))

    def load_latest(self) -> Snapshot | None:
        """The newest good checkpoint, or None where there is none; clears away half-written files.

        Raises CheckpointError where there are some, and none is good.
        """
        if self._folder.is_dir():
            remove_leftovers(self._folder)
        worst: CheckpointError | None = None
        for path in reversed(self.paths()):
            try:
                snapshot = load_snapshot(path)
                self.load_shards(snapshot)
                return snapshot
            except CheckpointError as error:
                log.warning("%s", error)
                worst = worst or error
        if worst is not None:
            raise worst
        return None

    def _survivor(self) -> str:
        paths = self.paths()
        return f"the last good checkpoint is {paths[-1]}" if paths else "there is none before it"


def shard_path(checkpoint: Path, number: int, n: int) -> Path:
    """Where the part of rank `number` of `n` of a checkpoint lies."""
    return checkpoint.with_name(f"{checkpoint.stem}.rank_{number}_of_{n}.shard")


def load_shard(path: Path, mark: str) -> dict[str, Any]:
    """One rank's part, mapped into memory; raises CheckpointError where it is another save's."""
    stored = _load(path, mmap=True)
    if not isinstance(stored, dict) or stored.get("mark") != mark:
        raise CheckpointError(f"{path} does not belong to the checkpoint beside it")
    found: dict[str, Any] = stored["contents"]
    return found


def _load(path: Path, *, mmap: bool = False) -> Any:
    if not path.exists():
        raise CheckpointError(f"there is no checkpoint {path}")
    if not zipfile.is_zipfile(path):  # torch's reader fails on other bytes in all kinds of ways
        raise CheckpointError(f"{path} is not a readable checkpoint: damaged, or another format")
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path} is not a readable checkpoint: {error}") from error


def load_snapshot(path: Path) -> Snapshot:
    """Read one checkpoint onto the CPU; raises CheckpointError naming the file."""
    contents = _load(path)
    if not isinstance(contents, dict) or not isinstance(found := contents.pop("format", None), int):
        raise CheckpointError(f"{path} is not a checkpoint of this trainer (format {FORMAT})")
    if found != FORMAT:
        raise CheckpointError(
            f"{path} has format {found}, this version writes and reads {FORMAT}: train into "
            "another --out, or go on with the version that wrote it; the run's open_clip/ can "
            "still be evaluated"
        )
    try:
        return Snapshot(counters=Counters(**contents.pop("counters")), **contents)
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{path} lacks a part, or holds a foreign one: {error}") from error


def seed_step(seed: int, step: int, rank: int) -> None:
    """Set every global random state from (seed, step, rank)."""
    state = np.random.SeedSequence((seed, 0x57EB, step, rank)).generate_state(2, dtype=np.uint64)
    torch.manual_seed(int(state[0]))
    random.seed(int(state[1]))
    np.random.seed(int(state[1]) % 2**32)
