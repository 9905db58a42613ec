"""Measure train_clip against open_clip in one run, taking turns so that noise hits both alike.

1. Training: the whole of `train-clip train`, reading JPEGs from shards, against open_clip's own
   `train_one_epoch` fed with finished float tensors from memory. Same model, batch, precision,
   optimiser settings and thread count.
2. The data path alone, per core: read, decode, augment and collate, against PIL and open_clip's
   training transform on the same JPEGs.
3. Data wait: the share of the training time of 1. that was spent waiting for data.

    python scripts/bench_train.py --data SHARDS [--model tiny] [--batch-size 64] [--json FILE]
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import open_clip
import torch
from PIL import Image

from train_clip.config import TrainConfig
from train_clip.data.reader import ReadSettings, SampleReader
from train_clip.data.sources import RunData, prepare_data
from train_clip.distributed import pick_device, set_threads
from train_clip.models.build import ModelBundle, build_model
from train_clip.objectives.contrastive import Contrastive
from train_clip.settings import SourceConfig
from train_clip.training.loop import train
from train_clip.training.optim import is_free_of_decay
from train_clip.training.runlog import read_rows

_WARM_UP = 3


class Memory:
    """Batches in memory in the shape of open_clip's loader; notes when each one is asked for."""

    def __init__(self, batches: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        self.batches = batches
        self.num_batches = len(batches)
        self.num_samples = sum(len(images) for images, _ in batches)
        self.dataloader = self
        self.times: list[float] = []

    def set_epoch(self, _: int) -> None:
        """One order for all epochs."""

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for batch in self.batches:
            self.times.append(time.perf_counter())
            yield batch
        self.times.append(time.perf_counter())


class OpenClip:
    """open_clip's model, optimiser and loop, with the settings of `config`."""

    def __init__(self, config: TrainConfig, bundle: ModelBundle, device: torch.device) -> None:
        self.model = bundle.model.to(device)
        named = list(self.model.named_parameters())
        groups: list[dict[str, Any]] = [
            {"params": [p for n, p in named if is_free_of_decay(n, p)], "weight_decay": 0.0},
            {"params": [p for n, p in named if not is_free_of_decay(n, p)]},
        ]
        self.optimizer = torch.optim.AdamW(
            groups,
            lr=config.lr,
            betas=config.betas,
            eps=config.eps,
            weight_decay=config.weight_decay,
        )
        self.scaler = torch.amp.GradScaler(device.type) if config.precision == "amp" else None
        self.arguments = SimpleNamespace(
            device=str(device),
            precision={"fp32": "fp32", "bf16": "amp_bf16", "amp": "amp"}[config.precision],
            grad_clip_norm=config.clip_grad_norm,
            accum_freq=1,
            skip_scheduler=True,
            distill=False,
            horovod=False,
            log_every_n_steps=10**9,
            rank=0,
            local_rank=0,
            world_size=1,
            batch_size=config.batch_size,
            wandb=False,
        )

    def step_times_s(self, memory: Memory) -> list[float]:
        """Seconds of each step of one epoch over `memory`."""
        from open_clip_train.train import (
            train_one_epoch,
        )

        memory.times.clear()
        loss = open_clip.ClipLoss()
        data, optimizer, scaler = {"train": memory}, self.optimizer, self.scaler
        train_one_epoch(self.model, data, loss, 0, optimizer, scaler, None, None, self.arguments)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return list(np.diff(memory.times))


def bench_training(config: TrainConfig, rounds: int, folder: Path) -> dict[str, Any]:
    """Samples per second of both trainers in turn, and our share of data wait."""
    device = pick_device(config.device, 0)
    set_threads(device, config.threads)
    bundle = build_model(config, Contrastive.model_start)
    shape = (config.batch_size, 3, bundle.image_px, bundle.image_px)
    tokens = bundle.tokenizer(["a dog runs through the grass"] * config.batch_size)
    memory = Memory([(torch.randn(shape), tokens)] * config.n_steps)
    theirs = OpenClip(config, bundle, device)
    their_s: list[float] = []
    our_s: list[float] = []
    waits, total = 0.0, 0.0
    ratios = []
    for number in range(rounds):
        their_round = theirs.step_times_s(memory)[_WARM_UP:]
        out = folder / f"run{number}"
        train(config, out)
        timing = [row["timing"] for row in read_rows(out / "metrics.jsonl")]
        our_round = [row["step_s"] for row in timing][_WARM_UP:]
        waits += sum(row["wait_s"] for row in timing)
        total += sum(row["step_s"] for row in timing)
        ratios.append(statistics.median(their_round) / statistics.median(our_round))
        their_s += their_round
        our_s += our_round
    return {
        "open_clip_samples_per_s": config.batch_size / statistics.median(their_s),
        "train_clip_samples_per_s": config.batch_size / statistics.median(our_s),
        "ratio_median": statistics.median(ratios),
        "ratios": ratios,
        "data_wait_share": waits / total,
    }


def bench_data(data: RunData, size_px: int, config: TrainConfig, rounds: int) -> dict[str, Any]:
    """Images per second and core of both data paths in turn; CPU time, so load matters little."""
    read = ReadSettings(
        image=config.image,
        caption=config.caption,
        captions=("auto",),
        size_px=size_px,
        max_pixels=config.max_pixels,
        seed=0,
    )
    reader = SampleReader(data.plans, read)
    transform = open_clip.transform.image_transform(size_px, is_train=True)
    n = min(data.n_usable, 256)
    encoded = [reader.read(0, index, "auto")[0] for index in range(n)]
    views = np.empty((n, size_px, size_px, 3), dtype=np.uint8)
    ours, theirs = [], []
    for _ in range(rounds):
        begun = time.process_time()
        for index in range(n):
            reader.produce(index, 0, index, views[index])
        middle = time.process_time()
        torch.stack([transform(Image.open(io.BytesIO(one))) for one in encoded])
        ours.append(n / (middle - begun))
        theirs.append(n / (time.process_time() - middle))
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return {
        "size_px": size_px,
        "open_clip_images_per_s": statistics.median(theirs),
        "train_clip_images_per_s": statistics.median(ours),
        "ratio_median": statistics.median(ratios),
        "ratios": ratios,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--data", required=True)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16", "amp"])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="*", default=[224])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    config = TrainConfig(
        sources=(SourceConfig(data=options.data),),
        model=options.model,
        steps=options.steps,
        batch_size=options.batch_size,
        precision=options.precision,
        device=options.device,
        threads=options.threads,
        workers=options.workers,
        tracker="none",
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = prepare_data(config, folder / "data")
        torch.set_num_threads(1)
        found: dict[str, Any] = {
            "data_path": [bench_data(data, size, config, options.rounds) for size in options.sizes]
        }
        found["training"] = bench_training(config, options.rounds, folder)
    for row in found["data_path"]:
        print(
            f"data path at {row['size_px']} px: {row['train_clip_images_per_s']:.0f} images/s per "
            f"core, open_clip's transform {row['open_clip_images_per_s']:.0f}: "
            f"{row['ratio_median']:.2f}x"
        )
    row = found["training"]
    print(
        f"training {config.model}, batch {config.batch_size}, {config.precision}: "
        f"{row['train_clip_samples_per_s']:.1f} samples/s from shards, open_clip "
        f"{row['open_clip_samples_per_s']:.1f} from memory: {row['ratio_median']:.2f}x; "
        f"data wait {row['data_wait_share']:.2%}"
    )
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
