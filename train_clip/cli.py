"""`train-clip`: train, compare, evaluate, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lesstext.console import new_command, run
from lesstext.dataclass_options import (
    build,
    flag_of,
    parameters,
    repeated,
    with_options,
    with_parameters,
)
from lesstext.errors import UsageError
from train_clip.config import TrainConfig
from train_clip.errors import ConfigError
from train_clip.settings import EvalConfig, SourceConfig

app = new_command(
    "train-clip",
    "Train CLIP for a fixed number of steps, and compare runs that differ in data only.",
)


def main() -> None:
    """Entry point."""
    run(app, verbose=True)


_WEIGHTS = "raw, averaged, or auto (averaged where kept)."


@app.command(epilog="Example: `train-clip train --data shards/ --steps 300 --out run/`")
@with_parameters(
    [*repeated(parameters(SourceConfig)), *parameters(TrainConfig, leave_out=("sources",))]
)
def train(
    out: Annotated[Path, typer.Option(help="The run's folder; a rerun goes on from there.")],
    **values: Any,
) -> None:
    """Train CLIP for exactly N steps, or go on with the run in OUT."""
    config = build(TrainConfig, values, sources=_sources(values))
    from train_clip.training.loop import train as run
    from train_clip.training.runlog import print_result

    result = run(config, out)
    if result:
        print_result(result, out)


def _sources(values: dict[str, Any]) -> tuple[SourceConfig, ...]:
    """One source per --data; other options are given once, or once for each; `-` is none."""
    count = len(values["data"])
    rows: list[dict[str, Any]] = [{} for _ in range(count)]
    for name in (parameter.name for parameter in parameters(SourceConfig)):
        given = values[name] or []
        if len(given) not in (0, 1, count):
            raise ConfigError(f"{flag_of(name)} was given {len(given)} times for {count} --data")
        if name == "weight" and len(given) not in (0, count):
            raise ConfigError("give a --weight for every --data, or for none")
        for row, value in zip(rows, given * count if len(given) == 1 else given, strict=False):
            row |= {} if value == "-" else {name: value}
    return tuple(build(SourceConfig, row) for row in rows)


@app.command(epilog="Example: `train-clip compare arms.toml --out comparison/`")
def compare(
    config: Annotated[Path, typer.Argument(help="TOML: seeds, [common], one [arms.NAME] each.")],
    out: Annotated[Path, typer.Option(help="Folder for runs, table, curves and page.")],
    jobs: Annotated[
        int, typer.Option(min=1, help="Runs at a time; on CPUs set threads in the TOML file.")
    ] = 1,
) -> None:
    """Train arms that differ in data (or objective) only; a rerun does what is missing."""
    from train_clip.comparison.arms import load_comparison
    from train_clip.comparison.compare import compare as run
    from train_clip.comparison.page import PAGE, markdown_table

    print(markdown_table(run(load_comparison(config), out, jobs)), end="")
    print(f"page: {out / PAGE}")


@app.command(epilog="Example: `train-clip evaluate run/ --retrieval shards/`")
@with_options(EvalConfig, leave_out=("every",))
def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="A .pt file, or a run (its latest).")],
    weights: Annotated[str, typer.Option(help=_WEIGHTS)] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    out: Annotated[Path | None, typer.Option(help="Folder for metrics and outcomes.")] = None,
    **values: Any,
) -> None:
    """Measure a checkpoint: zero-shot, its attacked twin, retrieval of texts and of images."""
    config = build(EvalConfig, values)
    from train_clip.evaluate import evaluate_checkpoint
    from train_clip.training.runlog import print_evaluation

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
