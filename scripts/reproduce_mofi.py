"""Run the experiment on entities: corpus, mentions, picks, labels, pilot, arms, report.

Every stage leaves its result in the output folder and is not repeated where that is there. The
pilot trains on true labels, with seeds of its own, before anything that could answer a question.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer
from entities.alt_texts import tiny_imagenet
from entities.selection_quality import installed
from mofi.by_text import measure_by_text
from mofi.corpus import CorpusConfig, make_corpus
from mofi.labels import write_controls
from mofi.plan import MofiPlan, Trial, load_mofi
from mofi.questions import pilot_lines
from mofi.report import write_mofi
from reproduce import CommandLog, freeze, options

from lesstext.entities.knowledge_base import open_kb


def compose(plan: MofiPlan, data: Path, log: CommandLog) -> None:
    """Photos with the alt-texts of a crawl."""
    train = tiny_imagenet(data, "train", "train_more")
    val = tiny_imagenet(data, "val")
    make_corpus(train, val, open_kb(), plan.corpus, CorpusConfig(**plan.size.corpus))


def find(plan: MofiPlan, data: Path, log: CommandLog) -> None:
    """What the texts may name; nouns are told by lists of words, with or without spaCy."""
    command = ["lesstext", "entities", "find", str(plan.shards), "--out", str(plan.mentions)]
    log.run([*command, "--tagger", "none", "--workers", "1"])


def pick(plan: MofiPlan, data: Path, log: CommandLog) -> None:
    """How well each image shows what its texts may name."""
    command = ["lesstext", "entities", "pick", str(plan.shards), "--out", str(plan.picks)]
    command += ["--input", f"mentions={plan.mentions}", "--texts", str(plan.out / "texts")]
    with installed("imagenet", "entities.imagenet_selector"):
        log.run([*command, *options(plan.size.pick)])


def label(plan: MofiPlan, data: Path, log: CommandLog) -> None:
    """Labels by the command, and those that control them."""
    labels = plan.labels("selected")
    if not labels.exists():
        command = ["lesstext", "entities", "label", str(plan.picks), "--out", str(labels)]
        log.run([*command, *options(plan.size.label)])
    write_controls(plan)


def pilot(plan: MofiPlan, data: Path, log: CommandLog) -> None:
    """Whether the size separates the arms where no label is wrong."""
    train(plan.pilot, log)
    typer.echo("\n".join(pilot_lines(plan.pilot)))


def arms(plan: MofiPlan, data: Path, log: CommandLog) -> None:
    train(plan.trial, log)


def report(plan: MofiPlan, data: Path, log: CommandLog) -> None:
    typer.echo(write_mofi(plan))
    typer.echo(f"results: {plan.results}")


STAGES: dict[str, Callable[[MofiPlan, Path, CommandLog], None]] = {
    "corpus": compose,
    "mentions": find,
    "picks": pick,
    "labels": label,
    "pilot": pilot,
    "arms": arms,
    "report": report,
}


def train(trial: Trial, log: CommandLog) -> None:
    """Every run of a trial, measured on the classes that it did not see."""
    trial.write_settings()
    jobs = trial.plan.size.jobs
    compare = ["train-clip", "compare", str(trial.settings), "--out", str(trial.folder)]
    log.run([*compare, "--jobs", str(jobs)])

    def measure(arm: str, seed: int) -> None:
        out = trial.retrieval(arm, seed)
        if (out / "image_retrieval.json").exists():
            return
        model = f"local-dir:{trial.run(arm, seed) / 'open_clip'}"
        evaluate = ["attr-builder", "evaluate", "--model", model, "--out", str(out)]
        images = ["--image-retrieval", str(trial.plan.unseen), "--workers", "0"]
        log.run([*evaluate, *images], quiet=True)

    with ThreadPoolExecutor(jobs) as pool:
        found = [pool.submit(measure, arm, seed) for arm in trial.arms for seed in trial.seeds]
        for one in found:
            one.result()
    for arm in trial.arms:
        for seed in trial.seeds:
            measure_by_text(trial, arm, seed)


def main(
    size: Annotated[str, typer.Option(help="smoke, small or gpu.")] = "small",
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of tiny_imagenet/ and oewn/.", envvar="LESSTEXT_DATA"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder (default: mofi-out/SIZE).")] = None,
    until: Annotated[str, typer.Option(help=f"Last stage: {', '.join(STAGES)}.")] = "report",
) -> None:
    """From Tiny-ImageNet to the table."""
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch: figures follow the number of threads
    if until not in STAGES:
        raise typer.BadParameter(f"--until must be one of {', '.join(STAGES)}, got {until!r}")
    if data is None:
        raise typer.BadParameter("name the folder of tiny_imagenet/ and oewn/ by --data")
    plan = MofiPlan(load_mofi(size), out or Path("mofi-out") / size)
    freeze(plan.out, plan.size.as_dict())
    log = CommandLog(plan.out / "commands.jsonl")
    signal.signal(signal.SIGTERM, lambda *_: log.stop())
    names = list(STAGES)
    for name in names[: names.index(until) + 1]:
        STAGES[name](plan, data, log)


if __name__ == "__main__":
    typer.run(main)
