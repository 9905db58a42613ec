"""Measure a step over a table of classes: the rows that it takes alone, against dense AdamW.

    python scripts/benchmarks/bench_classes.py --out scripts/results/classes.json

Each rank is a process of one thread, and they meet by gloo. A sparse step is the loss of a batch
over the classes taken, its gradients for images and classes, and the update. A dense one is
cross-entropy over all classes that the rank holds, its gradients, and AdamW's update (fused) of all
rows. Both are timed in turns in one run, in CPU-seconds of a rank, and their updates by themselves.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import socket
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.distributed as dist
import typer

from lesstext.storage.files import write_text
from train_clip.distributed import Ranks
from train_clip.objectives.base import Premises
from train_clip.objectives.class_table import ClassTable
from train_clip.objectives.entity import EntitySoftmax

Step = Callable[[], list[float]]  # CPU-seconds of the whole step, and of its update
BETAS, EPS, RATE = (0.9, 0.98), 1e-6, 1e-3


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is measured; `dense` says whether the dense step fits and is timed, too."""

    n_classes: int
    width: int
    negatives: int
    batch: int
    steps: int
    world: int
    dense: bool


def measure(setting: Setting) -> dict[str, Any]:
    """Run one setting on its ranks; the figures of each rank."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with ProcessPoolExecutor(setting.world, multiprocessing.get_context("spawn")) as pool:
        told = [pool.submit(_rank, rank, setting, port) for rank in range(setting.world)]
        return {**asdict(setting), "ranks": [one.result() for one in told]}


def _rank(rank: int, setting: Setting, port: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    address = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", address, rank=rank, world_size=setting.world)
    ranks = Ranks(rank, setting.world, torch.device("cpu"))
    before = _peak_bytes()
    sparse, losses = _sparse(setting, ranks)
    spent: dict[str, list[list[float]]] = {"sparse": [sparse()]}
    if setting.dense:
        dense = _dense(setting, ranks)
        spent["dense"] = [dense()]
    for _ in range(setting.steps):
        spent["sparse"].append(sparse())
        if setting.dense:
            spent["dense"].append(dense())
    dist.destroy_process_group()
    return {
        **{f"{kind}_step_cpu_s": _median(times, 0) for kind, times in spent.items()},
        **{f"{kind}_update_cpu_s": _median(times, 1) for kind, times in spent.items()},
        "first_loss": losses[0],
        "last_loss": losses[-1],
        "peak_before_bytes": before,
        "peak_bytes": _peak_bytes(),
        "rows_and_moments_bytes": 3 * 4 * setting.width * (-(-setting.n_classes // setting.world)),
    }


def _median(times: list[list[float]], place: int) -> float:
    """Of all steps but the first, which warms up."""
    return statistics.median(one[place] for one in times[1:])


def _batch(setting: Setting, n_classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(setting.batch, setting.width, generator=generator)
    labels = torch.randint(n_classes, (setting.batch, 1), generator=generator)
    return torch.nn.functional.normalize(features, dim=1).requires_grad_(), labels


def _sparse(setting: Setting, ranks: Ranks) -> tuple[Step, list[float]]:
    """A step on the same batch again and again, whose loss must fall."""
    objective = EntitySoftmax(negatives=setting.negatives)
    table = ClassTable(Premises(setting.width, setting.n_classes, 0, ranks), setting.negatives)
    features, labels = _batch(setting, setting.n_classes)
    losses: list[float] = []

    def step() -> list[float]:
        start = time.process_time()
        loss = objective.loss({"image_features": features, "labels": labels}, table)
        loss.backward()  # type: ignore[no-untyped-call]
        assert table.taken.grad is not None
        table.taken.grad /= setting.world
        features.grad = None
        middle = time.process_time()
        table.update(RATE, BETAS, EPS)
        losses.append(float(loss.detach()))
        end = time.process_time()
        return [end - start, end - middle]

    return step, losses


def _dense(setting: Setting, ranks: Ranks) -> Step:
    rows = len(range(ranks.rank, setting.n_classes, setting.world))
    weights = torch.nn.Parameter(torch.randn(rows, setting.width))
    adam = torch.optim.AdamW([weights], lr=RATE, betas=BETAS, eps=EPS, fused=True)
    features, labels = _batch(setting, rows)

    def step() -> list[float]:
        start = time.process_time()
        weights.grad = features.grad = None
        loss = torch.nn.functional.cross_entropy(features @ weights.T, labels.squeeze(1))
        loss.backward()  # type: ignore[no-untyped-call]
        middle = time.process_time()
        adam.step()
        end = time.process_time()
        return [end - start, end - middle]

    return step


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(
    out: Annotated[Path, typer.Option(help="The JSON to write.")],
    width: Annotated[int, typer.Option(help="Numbers per class.")] = 512,
    negatives: Annotated[int, typer.Option(help="Classes sampled for a step.")] = 16_000,
    batch: Annotated[int, typer.Option(help="Images per step.")] = 256,
    steps: Annotated[int, typer.Option(help="Timed steps.")] = 5,
    world: Annotated[int, typer.Option(help="Ranks.")] = 2,
    both: Annotated[int, typer.Option(help="Classes at which both are timed.")] = 500_000,
    large: Annotated[int, typer.Option(help="Classes of the sparse table alone.")] = 2_000_000,
) -> None:
    """Write and print the figures."""
    found = []
    for n_classes, dense in ((both, True), (large, False)):
        setting = Setting(
            n_classes=n_classes,
            width=width,
            negatives=negatives,
            batch=batch,
            steps=steps,
            world=world,
            dense=dense,
        )
        found.append(measure(setting))
    told = json.dumps({"torch": torch.__version__, "settings": found}, indent=2)
    write_text(out, told + "\n", unguarded=True)
    print(told)


if __name__ == "__main__":
    typer.run(main)
