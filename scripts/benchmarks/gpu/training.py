"""Training against open_clip's plain step by precision, DDP of one, evaluation, reproduction."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from gpu.bench import Bench, Figures, Skipped
from gpu.inputs import photos, repeated, shard

if TYPE_CHECKING:
    from train_clip.config import TrainConfig

_REPRODUCE = Path(__file__).resolve().parents[2] / "reproduce.py"
_GRACE_S = 20  # for what is told to save its place and end


def steps(bench: Bench) -> Figures:
    """Samples/s of `train-clip train` from shards, and of open_clip's loop from memory."""
    from bench_train import bench_training

    data = shard(bench, "training", bench.pick(2048, 16))
    for precision in ("fp32", "bf16", "amp") if bench.on_gpu else ("fp32", "bf16"):
        config = _config(bench, data, precision)
        found = bench_training(config, bench.pick(2, 1), bench.folder(f"steps-{precision}"))
        yield {
            f"{precision}, {config.model}, batch of {config.batch_size}": {
                "train_clip, samples/s": found["train_clip_samples_per_s"],
                "open_clip, samples/s": found["open_clip_samples_per_s"],
                "train_clip / open_clip": found["ratio_median"],
                "share of time waiting for data": found["data_wait_share"],
            }
        }


def _config(bench: Bench, data: Path, precision: Any) -> TrainConfig:
    from lesstext.engines.devices import n_cores
    from train_clip.config import TrainConfig
    from train_clip.settings import SourceConfig

    return TrainConfig(
        sources=(SourceConfig(data=str(data.parent)),),
        model="tiny" if bench.smoke else "ViT-B-32",
        steps=bench.pick(20, 5),
        batch_size=bench.pick(256, 4),
        precision=precision,
        device=bench.device,
        workers=max(1, min(12, n_cores() - 1)),
        tracker="none",
    )


def ddp(bench: Bench) -> Figures:
    """The price of torch's DDP around one process: open_clip's loop with it and without."""
    import torch
    import torch.distributed as dist
    from bench_train import Memory, OpenClip

    from train_clip.models.build import build_model
    from train_clip.objectives.contrastive import Contrastive

    config = _config(bench, Path("none/none.tar"), "bf16")
    backend = "nccl" if bench.on_gpu and dist.is_nccl_available() else "gloo"
    bundle = build_model(config, Contrastive.model_start)
    device = torch.device(bench.device)
    tokens = bundle.tokenizer(["a dog runs through the grass"] * config.batch_size)
    shape = (config.batch_size, 3, bundle.image_px, bundle.image_px)
    memory = Memory([(torch.randn(shape), tokens)] * config.n_steps)
    theirs = OpenClip(config, bundle, device)
    plain = median(theirs.step_times_s(memory)[3:])
    yield {"backend": backend, "plain, samples/s": config.batch_size / plain}
    rendezvous = (bench.folder("ddp") / "store").as_uri()
    dist.init_process_group(backend, init_method=rendezvous, rank=0, world_size=1)
    try:
        theirs.model = torch.nn.parallel.DistributedDataParallel(theirs.model)
        wrapped = median(theirs.step_times_s(memory)[3:])
    finally:
        dist.destroy_process_group()
    yield {"DDP of one, samples/s": config.batch_size / wrapped, "DDP / plain": plain / wrapped}


def evaluation(bench: Bench) -> Figures:
    """Images/s of the evaluation's embedding, files to vectors, with an untrained ViT-B-32."""
    import open_clip

    from attr_builder.evaluation.embeddings import CaptionedItem, embed_captioned
    from lesstext.clip.model import ClipModel, Precision, preprocessing
    from lesstext.engines.devices import n_cores

    name = "ViT-B-32"
    network = open_clip.create_model(name, device=bench.device).eval()
    n = bench.pick(1000, 4)
    chosen = enumerate(repeated(photos(bench), n))
    items = [CaptionedItem(str(i), ("a photo",), path.read_bytes()) for i, path in chosen]
    precisions: tuple[Precision, ...] = ("fp32", "amp_bf16")
    for precision in precisions:
        model = ClipModel(
            name=name,
            config=open_clip.get_model_config(name),
            network=network,
            tokenizer=open_clip.get_tokenizer(name),
            preprocess=preprocessing(network),
            device=bench.device,
            precision=precision,
        )
        n_workers = 0 if bench.smoke else max(1, n_cores() - 1)
        took = bench.seconds_of(
            partial(embed_captioned, model, items, batch_size=128, n_workers=n_workers)
        )
        yield {f"{precision}, images/s with {n_workers} workers": n / took}


def reproduction(bench: Bench) -> Figures:
    """`reproduce.py --size gpu` until the time is up: the commands it finished, and their steps."""
    data = bench.inputs / "tiny_imagenet"
    if not data.is_dir():
        raise Skipped(f"no Tiny-ImageNet in {data}")
    size = "smoke" if bench.smoke else "gpu"
    out = bench.work / "reproduction"
    command = [sys.executable, str(_REPRODUCE), "--size", size]
    process = subprocess.Popen(
        [*command, "--data", str(data.resolve()), "--out", str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        code: int | None = process.wait(max(1.0, bench.seconds - 2 * _GRACE_S))
    except subprocess.TimeoutExpired:
        code = None
        process.terminate()
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    yield {"size": size, "ended with": "the time" if code is None else code}
    yield reached(out)


def reached(out: Path) -> dict[str, Any]:
    """Commands that a reproduction finished, by seconds, and the steps of each training."""
    log = out / "commands.jsonl"
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.is_file() else []
    trained = {}
    for metrics in sorted(out.rglob("metrics.jsonl")):
        rows_of = map(json.loads, metrics.read_text().splitlines())
        steps_done = max((int(row.get("step", 0)) for row in rows_of), default=0)
        trained[str(metrics.parent.relative_to(out))] = steps_done
    return {
        "commands finished": [
            {"command": row["command"][:80], "seconds": row["seconds"]} for row in rows
        ],
        "steps trained": trained,
    }
