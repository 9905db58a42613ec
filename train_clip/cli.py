"""`train-clip`: train, compare, evaluate, export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lesstext.console import new_command, run
from lesstext.errors import UsageError

if TYPE_CHECKING:
    from train_clip.config import SourceConfig

app = new_command(
    "train-clip",
    "Train CLIP for a fixed number of steps, and compare runs that differ in data only.",
)


def main() -> None:
    """Entry point."""
    run(app, verbose=True)


_DATA = "Shards: folder, glob, brace list, `::` list, @file or URL; repeat for several sources."
_WEIGHTS = "raw, averaged, or auto (averaged where kept)."
_EACH = "One for all --data, or one per --data in order"


@app.command(epilog="Example: `train-clip train --data shards/ --steps 300 --out run/`")
def train(
    data: Annotated[list[str], typer.Option(help=_DATA)],
    out: Annotated[Path, typer.Option(help="The run's folder; a rerun goes on from there.")],
    weight: Annotated[
        list[float] | None, typer.Option(help="Share of draws per --data (default: by size).")
    ] = None,
    selection: Annotated[
        list[str] | None, typer.Option(help=f"Selection parquet ('-' for none). {_EACH}.")
    ] = None,
    where: Annotated[
        list[str] | None, typer.Option(help=f"SQL rule on the score tables. {_EACH}.")
    ] = None,
    scores: Annotated[list[str] | None, typer.Option(help=f"Score tables. {_EACH}.")] = None,
    captions: Annotated[
        list[str] | None,
        typer.Option(help=f"auto (txt, else json), or a json field. {_EACH}."),
    ] = None,
    model: Annotated[
        str, typer.Option(help="tiny, tiny-vit, small or an open_clip name.")
    ] = "tiny",
    steps: Annotated[int | None, typer.Option(help="Optimiser updates, exactly.")] = None,
    samples: Annotated[int | None, typer.Option(help="Instead of --steps.")] = None,
    passes: Annotated[float | None, typer.Option(help="Instead of --steps.")] = None,
    batch_size: Annotated[int, typer.Option(help="Pairs per step, over all ranks.")] = 64,
    accumulate: Annotated[int, typer.Option(help="Micro-batches per step and rank.")] = 1,
    seed: int = 0,
    loss: Annotated[str, typer.Option(help="clip or siglip.")] = "clip",
    precision: Annotated[str, typer.Option(help="fp32, bf16, amp (fp16) or fp64.")] = "fp32",
    lr: float = 5e-4,
    min_lr: float = 0.0,
    warmup: Annotated[str, typer.Option(help="Steps (500) or a share of the run (10%).")] = "10%",
    decay: Annotated[
        str | None,
        typer.Option(help="Last steps or share that decay (default: all after warm-up)."),
    ] = None,
    decay_shape: Annotated[str, typer.Option(help="cosine, linear or constant.")] = "cosine",
    weight_decay: float = 0.2,
    beta1: float = 0.9,
    beta2: float = 0.98,
    eps: float = 1e-6,
    clip_grad_norm: Annotated[float, typer.Option(help="0 turns clipping off.")] = 1.0,
    ema: Annotated[float | None, typer.Option(help="Decay of averaged weights.")] = None,
    patch_dropout: float | None = None,
    context_length: int | None = None,
    freeze_batchnorm: bool = False,
    grad_checkpointing: bool = False,
    compile: Annotated[bool, typer.Option("--compile", help="torch.compile the model.")] = False,
    crop_scale: Annotated[tuple[float, float], typer.Option(help="Area kept.")] = (0.9, 1.0),
    flip: Annotated[float, typer.Option(help="Probability of mirroring.")] = 0.0,
    jitter: Annotated[
        tuple[float, float, float, float],
        typer.Option(help="Brightness, contrast, saturation, hue."),
    ] = (0.0, 0.0, 0.0, 0.0),
    jitter_prob: float = 0.8,
    randaugment: Annotated[tuple[int, float], typer.Option(help="Operations, magnitude of 10.")] = (
        0,
        9.0,
    ),
    erase: Annotated[float, typer.Option(help="Probability of random erasing.")] = 0.0,
    mask_text: Annotated[
        str, typer.Option(help="Hide the score table's regions: none, blur or mean.")
    ] = "none",
    mask_text_prob: float = 1.0,
    caption_pick: Annotated[str, typer.Option(help="first or random, of several.")] = "first",
    template: Annotated[
        list[str] | None, typer.Option(help="Caption template with {}; repeat for several.")
    ] = None,
    template_prob: float = 0.5,
    window_shards: Annotated[int, typer.Option(help="Shards shuffled together.")] = 8,
    max_bad_fraction: Annotated[float, typer.Option(help="Bad samples allowed.")] = 0.05,
    eval_every: Annotated[int, typer.Option(help="Steps (0: at the end only).")] = 0,
    eval_retrieval: Annotated[str | None, typer.Option(help="Shards with captions.")] = None,
    eval_zeroshot: Annotated[str | None, typer.Option(help="Labelled image set.")] = None,
    eval_attacked: Annotated[str | None, typer.Option(help="Its attacked twin.")] = None,
    eval_classes: Annotated[str | None, typer.Option(help="Class list CSV.")] = None,
    eval_labels: Annotated[str | None, typer.Option(help="Ground truth of a flat set.")] = None,
    eval_templates: Annotated[int, typer.Option(help="Prompts per class: 80, 7 or 1.")] = 80,
    eval_limit: Annotated[int | None, typer.Option(help="Images per set.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads (default: cores - 1).")] = None,
    workers: Annotated[int, typer.Option(help="Data processes per rank (0: a thread).")] = 1,
    prefetch: Annotated[int, typer.Option(help="Batches prepared ahead.")] = 3,
    stall_timeout: Annotated[float, typer.Option(help="Seconds until a stall is an error.")] = 300,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    log_every: int = 1,
    save_every: Annotated[int, typer.Option(help="Steps (0: by the clock only).")] = 0,
    save_minutes: Annotated[float, typer.Option(help="Minutes (0: never by the clock).")] = 15.0,
    keep: Annotated[int, typer.Option(help="Checkpoints kept.")] = 2,
    tensorboard: bool = True,
    cache: Annotated[Path | None, typer.Option(help="Folder for shard indexes.")] = None,
) -> None:
    """Train CLIP for exactly N steps, or go on with the run in OUT."""
    values = dict(locals())
    sources = {name: values.pop(name) for name in _SOURCE_OPTIONS}
    config = _config(values, _sources(sources))
    from train_clip.report import print_result
    from train_clip.training.loop import train as run

    result = run(config, out)
    if result:
        print_result(result, out)


# Options whose name is the setting's name.
# fmt: off
_SAME_NAME = (
    "model", "steps", "samples", "passes", "batch_size", "accumulate", "seed", "loss",
    "precision", "lr", "min_lr", "warmup", "decay", "decay_shape", "weight_decay", "eps", "ema",
    "patch_dropout", "context_length", "freeze_batchnorm", "grad_checkpointing", "compile",
    "window_shards", "max_bad_fraction", "threads", "workers", "prefetch", "device", "log_every",
    "save_every", "save_minutes", "keep", "tensorboard",
)
# fmt: on
_SOURCE_OPTIONS = ("data", "weight", "selection", "where", "scores", "captions")


def _sources(options: dict[str, Any]) -> tuple[SourceConfig, ...]:
    """One SourceConfig per --data; other options are given once, or once for each."""
    from train_clip.config import SourceConfig
    from train_clip.errors import ConfigError

    count = len(options["data"])
    columns: dict[str, list[Any]] = {}
    for name in _SOURCE_OPTIONS:
        given = list(options[name] or [])
        if len(given) not in (0, 1, count):
            raise ConfigError(f"--{name} was given {len(given)} times for {count} --data")
        if name == "weight" and len(given) not in (0, count):
            raise ConfigError("give a --weight for every --data, or for none")
        default = "auto" if name == "captions" else None
        filled = given * count if len(given) == 1 else given or [default] * count
        columns[name] = [default if value == "-" else value for value in filled]
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return tuple(SourceConfig(**row) for row in rows)


def _config(values: dict[str, Any], sources: tuple[SourceConfig, ...]) -> Any:
    from train_clip.config import CaptionAugment, EvalConfig, ImageAugment, TrainConfig

    image = ImageAugment(
        crop_scale=values["crop_scale"],
        flip_prob=values["flip"],
        jitter=values["jitter"],
        jitter_prob=values["jitter_prob"],
        randaugment=values["randaugment"],
        erase_prob=values["erase"],
        text_mask=values["mask_text"],
        text_mask_prob=values["mask_text_prob"],
    )
    caption = CaptionAugment(
        pick=values["caption_pick"],
        templates=tuple(values["template"] or ()),
        template_prob=values["template_prob"],
    )
    names = (
        "every",
        "retrieval",
        "zeroshot",
        "attacked",
        "classes",
        "labels",
        "templates",
        "limit",
    )
    evaluation = EvalConfig(**{name: values[f"eval_{name}"] for name in names})
    return TrainConfig(
        sources=sources,
        image=image,
        caption=caption,
        evaluation=evaluation,
        betas=(values["beta1"], values["beta2"]),
        clip_grad_norm=values["clip_grad_norm"] or None,
        stall_timeout_s=values["stall_timeout"],
        cache=None if values["cache"] is None else str(values["cache"]),
        **{name: values[name] for name in _SAME_NAME},
    )


@app.command(epilog="Example: `train-clip compare arms.toml --out comparison/`")
def compare(
    config: Annotated[Path, typer.Argument(help="TOML: seeds, [common], one [arms.NAME] each.")],
    out: Annotated[Path, typer.Option(help="Folder for runs, table, curves and page.")],
    jobs: Annotated[
        int, typer.Option(min=1, help="Runs at a time; on CPUs set threads in the TOML file.")
    ] = 1,
) -> None:
    """Train arms that differ in data only, and compare them; a rerun does what is missing."""
    from train_clip.comparison.compare import compare as run
    from train_clip.comparison.compare import load_comparison
    from train_clip.comparison.page import PAGE, markdown_table

    print(markdown_table(run(load_comparison(config), out, jobs)), end="")
    print(f"page: {out / PAGE}")


@app.command(epilog="Example: `train-clip evaluate run/ --retrieval shards/`")
def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="A .pt file, or a run (its latest).")],
    retrieval: Annotated[str | None, typer.Option(help="Shards with captions.")] = None,
    zeroshot: Annotated[str | None, typer.Option(help="Labelled image set.")] = None,
    attacked: Annotated[str | None, typer.Option(help="Its attacked twin.")] = None,
    classes: Annotated[str | None, typer.Option(help="Class list CSV.")] = None,
    labels: Annotated[str | None, typer.Option(help="Ground truth of a flat set.")] = None,
    templates: Annotated[int, typer.Option(help="Prompts per class: 80, 7 or 1.")] = 80,
    limit: Annotated[int | None, typer.Option(help="Images per set.")] = None,
    weights: Annotated[str, typer.Option(help=_WEIGHTS)] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    out: Annotated[Path | None, typer.Option(help="Folder for metrics and outcomes.")] = None,
) -> None:
    """Measure a checkpoint: zero-shot, its attacked twin, retrieval."""
    from train_clip.config import EvalConfig
    from train_clip.evaluate import evaluate_checkpoint
    from train_clip.report import print_evaluation

    config = EvalConfig(
        retrieval=retrieval,
        zeroshot=zeroshot,
        attacked=attacked,
        classes=classes,
        labels=labels,
        templates=templates,
        limit=limit,
    )
    found = evaluate_checkpoint(
        _checkpoint(checkpoint), config, device, averaged=_which(weights), out=out
    )
    print_evaluation(found)


@app.command(epilog="Example: `train-clip export run/ --out model/`")
def export(
    checkpoint: Annotated[Path, typer.Argument(help="A .pt file, or a run (its latest).")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    weights: Annotated[str, typer.Option(help=_WEIGHTS)] = "auto",
) -> None:
    """Write a checkpoint as a folder that open_clip and Hugging Face load."""
    from train_clip.models.export import export_checkpoint

    for line in export_checkpoint(_checkpoint(checkpoint), out, averaged=_which(weights)):
        print(line)


def _which(weights: str) -> bool | None:
    """Whether averaged weights are meant; None leaves it to what the checkpoint keeps."""
    choices = {"raw": False, "averaged": True, "auto": None}
    if weights not in choices:
        raise UsageError(f"--weights must be raw, averaged or auto, got {weights!r}")
    return choices[weights]


def _checkpoint(path: Path) -> Path:
    """The file itself, or the newest checkpoint of a run's folder."""
    if not path.is_dir():
        return path
    from train_clip.models.checkpoint import CheckpointStore

    found = CheckpointStore(path / "checkpoints", 1).paths()
    if not found:
        raise UsageError(f"{path} holds no checkpoints")
    return found[-1]


if __name__ == "__main__":
    main()
