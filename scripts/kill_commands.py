"""The commands that the kill campaign kills, and the small inputs that they read."""

from __future__ import annotations

import importlib
import os
import random
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lesstext.shards.tar_writing import end_archive, write_member

_SIZE_PX = 64
_N_SHARDS, _N_SAMPLES = 6, 80
_WNIDS = ("n01440764", "n01443537")
_TRAINING = ("torch", "open_clip", "train_clip.training.loop", "train_clip.comparison.compare")


@dataclass(frozen=True, kw_only=True)
class Program:
    """One command: what it does to an output folder, what must be there before it, and the modules
    that are slow to import."""

    run: Callable[[Path], object]
    preload: Sequence[str]
    prepare: Callable[[], object] = lambda: None


def make_inputs(place: Path, rng: random.Random) -> None:
    """Shards below `in/`, photos of two classes below `val/`, and what single commands need."""
    for folder in ("in", *(f"val/{wnid}" for wnid in _WNIDS)):
        (place / folder).mkdir(parents=True)
    for shard in range(_N_SHARDS):
        with (place / "in" / f"{shard:05d}.tar").open("wb") as tar:
            for number in range(_N_SAMPLES):
                write_member(tar, f"{number:05d}.jpg", _jpeg(rng))
                write_member(tar, f"{number:05d}.txt", b"a photo of something")
            end_archive(tar)
    for number in range(60):
        wnid = _WNIDS[number % 2]
        (place / "val" / wnid / f"{wnid}_{number}.JPEG").write_bytes(_jpeg(rng))
    (place / "classes.csv").write_text(f"wnid,name\n{_WNIDS[0]},tench\n{_WNIDS[1]},goldfish\n")
    common = 'model = "tiny-vit"\nsteps = 6\nbatch_size = 8\nsave_every = 2\nworkers = 1\n'
    (place / "arms.toml").write_text(
        f'seeds = [0]\n[common]\n{common}threads = 1\ndevice = "cpu"\ntracker = "none"\n'
        f'[common.evaluation]\nretrieval = "{place}/in/00000.tar"\nlimit = 8\n'
        f'[arms.all]\nsources = [{{ data = "{place}/in" }}]\n'
        f'[arms.half]\nsources = [{{ data = "{place}/in/{{00000..00002}}.tar" }}]\n'
    )


def _score(place: Path) -> Program:
    return _lesstext(lambda out: ["score", f"{place}/in", "--out", f"{out}", *_FAKE])


def _filter(place: Path) -> Program:
    return _lesstext(lambda out: ["filter", f"{place}/in", "--out", f"{out}", *_FAKE])


def _export(place: Path) -> Program:
    scores, keep = place / "scores-for-export", place / "keep.parquet"

    def prepare() -> None:
        _call("lesstext.cli.app", ["score", f"{place}/in", "--out", f"{scores}", *_FAKE])
        limit = ["--max-text-area", "0.2"]
        _call("lesstext.cli.app", ["select", f"{scores}", "--out", f"{keep}", *limit])

    selection = ["--selection", f"{keep}", "--workers", "2"]
    run = _lesstext(lambda out: ["export", f"{place}/in", *selection, "--out", f"{out}"]).run
    return Program(run=run, preload=_LESSTEXT, prepare=prepare)


def _build(place: Path) -> Program:
    more = ["--preset", "visible", "--controls", "none", "--workers", "2", "--chunk-size", "10"]
    arguments = ["build", f"{place}/val", "--format", "imagefolder,webdataset,parquet", *more]
    return Program(
        run=lambda out: _call("attr_builder.cli", [*arguments, "--out", f"{out}"]),
        preload=["attr_builder.building.build", "attr_builder.commands"],
    )


def _train(place: Path) -> Program:
    """With the evaluation inside of the loop, on a twin and on captions."""

    def run(out: Path) -> None:
        _call("train_clip.cli", [
            *_training(place, out), "--workers", "1", "--eval-every", "3",
            "--eval-zeroshot", f"{place}/val", "--eval-attacked", f"{place}/twin/attacked",
            "--eval-classes", f"{place}/classes.csv", "--eval-templates", "1",
            "--eval-retrieval", f"{place}/in/00000.tar", "--eval-limit", "8",
        ])  # fmt: skip

    return Program(run=run, preload=_TRAINING, prepare=lambda: _build_twin(place))


def _two_ranks(place: Path) -> Program:
    def run(out: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        os.environ |= {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{port}"}
        second = os.fork()
        rank = "0" if second else "1"
        os.environ |= {"RANK": rank, "LOCAL_RANK": rank}
        _call("train_clip.cli", [*_training(place, out), "--workers", "0"])
        if not second:
            os._exit(0)
        if os.waitpid(second, 0)[1]:
            raise RuntimeError("the second rank failed")

    return Program(run=run, preload=_TRAINING)


def _compare(place: Path) -> Program:
    arguments = ["compare", f"{place}/arms.toml"]
    return Program(
        run=lambda out: _call("train_clip.cli", [*arguments, "--out", f"{out}"]),
        preload=_TRAINING,
    )


def _evaluate(place: Path) -> Program:
    """`attr-builder evaluate` of a model that was trained here, on a set that was built here."""
    model = place / "for-evaluate"

    def prepare() -> None:
        _build_twin(place)
        _call("train_clip.cli", [*_training(place, model), "--workers", "0"])

    def run(out: Path) -> None:
        _call("attr_builder.cli", [
            "evaluate", "--model", f"local-dir:{model}/open_clip", "--set", f"{place}/twin",
            "--clean", f"{place}/val", "--classes", f"{place}/classes.csv", "--templates", "1",
            "--workers", "1", "--out", f"{out}",
        ])  # fmt: skip

    more = "attr_builder.evaluation.evaluate", "attr_builder.commands"
    return Program(run=run, preload=[*_TRAINING, *more], prepare=prepare)


_FAKE = ("--detector", "fake", "--workers", "2")
_LESSTEXT = (
    "lesstext.cli.app", "lesstext.verbs", "lesstext.engines.local", "duckdb", "pyarrow.parquet",
    "cv2",
)  # fmt: skip
COMMANDS: dict[str, Callable[[Path], Program]] = {
    "score": _score,
    "filter": _filter,
    "export": _export,
    "build": _build,
    "train": _train,
    "evaluate": _evaluate,
    "compare": _compare,
    "two_ranks": _two_ranks,
}


def _lesstext(arguments: Callable[[Path], list[str]]) -> Program:
    return Program(run=lambda out: _call("lesstext.cli.app", arguments(out)), preload=_LESSTEXT)


def _training(place: Path, out: Path) -> list[str]:
    return [
        "train", "--data", f"{place}/in", "--model", "tiny-vit", "--steps", "9",
        "--batch-size", "8", "--save-every", "3", "--threads", "1", "--device", "cpu",
        "--tracker", "none", "--out", f"{out}",
    ]  # fmt: skip


def _build_twin(place: Path) -> None:
    """The attacked twin of `val/`, built once."""
    twin = place / "twin"
    if not twin.exists():
        classes = ["--classes", f"{place}/classes.csv", "--strategy", "random"]
        _call("attr_builder.cli", ["build", f"{place}/val", "--out", f"{twin}", *classes])


def _call(module: str, arguments: Sequence[str]) -> None:
    """What `python -m module arguments` does; its helper processes import that module, too."""
    program = importlib.import_module(module)
    sys.modules["__main__"] = program
    sys.argv = [module, *arguments]
    try:
        program.main()
    except SystemExit as end:
        if end.code:
            raise


def _jpeg(rng: random.Random) -> bytes:
    """A drawn picture; some have a magenta patch, which the fake detector takes for text."""
    import cv2
    import numpy as np

    noise = np.random.default_rng(rng.randrange(2**32))
    pixels = cv2.resize(noise.integers(0, 255, (8, 8, 3), dtype=np.uint8), (_SIZE_PX, _SIZE_PX))
    if rng.random() < 0.5:
        pixels[: int(_SIZE_PX * rng.uniform(0.05, 0.6))] = (255, 0, 255)
    return bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])[1])
