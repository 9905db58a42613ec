"""Where a run's metrics go besides its own files: TensorBoard, Weights & Biases, Trackio."""

from __future__ import annotations

import json
import os
import uuid
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from lesstext.storage.files import write_text
from lesstext.storage.validation import json_object
from train_clip.config import TrainConfig
from train_clip.errors import ConfigError

_IDENTITY = "tracker.json"
_PROJECT = "lesstext"
_MODULES = {"tensorboard": "tensorboard", "wandb": "wandb", "trackio": "trackio"}


class Tracker(Protocol):
    """Takes numbers by name after `step` finished steps, until it is closed."""

    def write(self, step: int, values: dict[str, float]) -> None: ...

    def close(self) -> None: ...


def check_tracker(name: str) -> None:
    """Raise ConfigError, before anything is trained, where the tracker's package is missing."""
    if name in _MODULES and find_spec(_MODULES[name]) is None:
        raise ConfigError(
            f"--tracker {name} needs the package {name}: "
            f"pip install 'lesstext[{name}]', or --tracker none"
        )


def open_tracker(config: TrainConfig, out: Path, resumed_at: int) -> Tracker | None:
    """The tracker that the run asks for; a run that is resumed goes on where it was.

    Project and account are the tracker's own business, such as $WANDB_PROJECT ("lesstext" where
    it is not set) and $WANDB_MODE.
    """
    if config.tracker == "tensorboard":
        return _TensorBoard(out / "tensorboard", resumed_at)
    if config.tracker == "wandb":
        return _Wandb(config, out)
    if config.tracker == "trackio":
        return _Trackio(config, out)
    return None


def numbers(values: dict[str, Any], prefix: str) -> dict[str, float]:
    """What of a row of metrics a tracker can draw, as `prefix/name`."""
    drawable = {name: value for name, value in values.items() if isinstance(value, (int, float))}
    return {f"{prefix}/{name}": value for name, value in drawable.items() if name != "step"}


class _TensorBoard:
    def __init__(self, folder: Path, resumed_at: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        purge_step = resumed_at + 1 if resumed_at else None
        self._writer = SummaryWriter(str(folder), purge_step=purge_step)

    def write(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _Wandb:
    def __init__(self, config: TrainConfig, out: Path) -> None:
        self._run = import_module("wandb").init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            id=_run_id(out),
            name=os.environ.get("WANDB_NAME", out.resolve().name),
            dir=str(out),
            config=json.loads(config.as_json()),
            resume="allow",
        )

    def write(self, step: int, values: dict[str, float]) -> None:
        self._run.log(values, step=step)

    def close(self) -> None:
        self._run.finish()


class _Trackio:
    def __init__(self, config: TrainConfig, out: Path) -> None:
        self._trackio = import_module("trackio")
        self._trackio.init(
            project=os.environ.get("TRACKIO_PROJECT", _PROJECT),
            name=f"{out.resolve().name}-{_run_id(out)[:8]}",
            config=json.loads(config.as_json()),
            resume="allow",
            auto_log_gpu=False,
        )

    def write(self, step: int, values: dict[str, float]) -> None:
        self._trackio.log(values, step=step)

    def close(self) -> None:
        self._trackio.finish()


def _run_id(out: Path) -> str:
    """One name for all of a run's sittings, kept in its folder."""
    path = out / _IDENTITY
    if not path.exists():
        write_text(path, json.dumps({"run_id": uuid.uuid4().hex}) + "\n")
    return str(json_object(path)["run_id"])
