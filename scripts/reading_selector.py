"""Ask whether a selector keeps what is printed: models, photos, pilot, picks, cartons, training.

Every stage leaves its result in the output folder and is not repeated where that is there. Unless
the pilot, a model with a seed of its own, keeps wrong entities because their word is printed, there
is nothing to repair: the experiment is void and stops.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import typer
from entities.selection_quality import installed
from reading.kept import read_kept
from reading.photos import write_cartons, write_scenes
from reading.plan import (
    BLIND_TEMPLATES,
    MODEL_TEMPLATES,
    WAYS,
    Lot,
    ReadingPlan,
    load_reading,
)
from reading.questions import gate
from reading.report import seconds, write_reading
from reading.training import write_settings, write_true_labels
from reproduce import VOID, CommandLog, freeze, make_inputs, options, run_pilot, score_and_select
from reproduction.plan import write_arms

from lesstext.errors import LesstextError


def models(plan: ReadingPlan, data: Path, log: CommandLog) -> None:
    """A pilot, and models that read and that do not: given ones, or a reproduction's."""
    if plan.given is None:
        own = plan.models.plan
        make_inputs(own, data / "tiny_imagenet", log)
        run_pilot(own, log)
        score_and_select(own, log)
        write_arms(own)
        compare = ["train-clip", "compare", str(own.arms), "--out", str(own.runs)]
        log.run([*compare, "--jobs", str(own.size.jobs)])
    plan.models.check()


def photos(plan: ReadingPlan, data: Path, log: CommandLog) -> None:
    """Photos that no model has seen, what their alt-texts name, and where their text is."""
    write_scenes(data / "tiny_imagenet", plan.scenes, plan.models, **plan.size.photos)
    find_and_score(plan.scenes, plan.size.detector, log)


def pilot(plan: ReadingPlan, data: Path, log: CommandLog) -> None:
    """Whether there is anything to repair."""
    out = plan.picks("pilot", plan.models.plan.size.pilot_seed)
    pick(plan.scenes, out, of_model(plan.models.pilot), log)
    found = gate(read_kept(plan.scenes, [out]))
    typer.echo(f"pilot: {found.text}", err=True)
    if plan.size.claims and not found.passed:
        typer.echo("void: nothing else is selected", err=True)
        raise typer.Exit(VOID)


def picks(plan: ReadingPlan, data: Path, log: CommandLog) -> None:
    """The picks of every way to select, by each seed's model."""
    for way in plan.size.arms:
        for seed in plan.seeds_of(way):
            pick(plan.scenes, plan.picks(way, seed), selecting(plan, way, seed), log)


def cartons(plan: ReadingPlan, data: Path, log: CommandLog) -> None:
    """The counter-test, where the printed word is what is shown."""
    settings = dict(plan.size.cartons)
    lot, detector, training = plan.cartons, settings.pop("detector"), settings.pop("train")
    write_cartons(data, lot, **settings)
    find_and_score(lot, detector, log)

    def train(seed: int) -> None:
        out = plan.carton_model(seed)
        if not (out / "result.json").exists():
            command = ["train-clip", "train", "--data", str(lot.train), "--out", str(out)]
            log.run([*command, "--seed", str(seed), *options(training)], quiet=True)

    with ThreadPoolExecutor(plan.size.jobs) as pool:
        list(pool.map(train, plan.size.seeds))
    for seed in plan.size.seeds:
        chosen = of_model(plan.carton_model(seed))
        pick(lot, plan.carton_picks("reading", seed), chosen, log)
        pick(lot, plan.carton_picks("hidden", seed), chosen + hiding(lot, plan.size.fill), log)


def training(plan: ReadingPlan, data: Path, log: CommandLog) -> None:
    """Models trained on each set of labels, and attacked."""
    for way in plan.size.arms:
        if not plan.labels(way).exists():
            source = str(plan.picks(way, plan.size.seeds[0]))
            command = ["lesstext", "entities", "label", source, "--out", str(plan.labels(way))]
            command += ["--kb", str(plan.scenes.kb), "--threshold", "-1", "--top", "1"]
            log.run([*command, "--min-images", "1"])
    write_true_labels(plan)
    write_settings(plan)
    compare = ["train-clip", "compare", str(plan.out / "runs.json"), "--out", str(plan.runs)]
    log.run([*compare, "--jobs", str(plan.size.jobs)])


STAGES: dict[str, Callable[[ReadingPlan, Path, CommandLog], None]] = {
    "models": models,
    "photos": photos,
    "pilot": pilot,
    "picks": picks,
    "cartons": cartons,
    "training": training,
}
_REPORTED = "picks"


def find_and_score(lot: Lot, detector: dict[str, Any], log: CommandLog) -> None:
    find = ["lesstext", "entities", "find", str(lot.shards), "--out", str(lot.mentions)]
    log.run([*find, "--kb", str(lot.kb), "--tagger", "none", "--workers", "1"])
    score = ["lesstext", "score", str(lot.shards), "--out", str(lot.scores)]
    log.run([*score, *options(detector)])


def pick(lot: Lot, out: Path, chosen: list[str], log: CommandLog) -> None:
    command = ["lesstext", "entities", "pick", str(lot.shards), "--out", str(out)]
    command += ["--kb", str(lot.kb), "--input", f"mentions={lot.mentions}"]
    command += ["--texts", str(lot.folder / "texts"), "--workers", "1"]
    with installed("imagenet", "entities.imagenet_selector"):
        log.run([*command, *chosen])


def selecting(plan: ReadingPlan, way: str, seed: int) -> list[str]:
    """The options of a way to select."""
    model, hides = WAYS[way]
    chosen = blind() if model == "classifier" else of_model(plan.models.run(model, seed))
    return [*chosen, *hiding(plan.scenes, plan.size.fill)] if hides else chosen


def of_model(run: Path) -> list[str]:
    """The options that let a run select."""
    return ["--model", f"local-dir:{run}", *_templates(MODEL_TEMPLATES)]


def blind() -> list[str]:
    """The options that let a classifier select."""
    return ["--selector", "imagenet", *_templates(BLIND_TEMPLATES)]


def hiding(lot: Lot, fill: str) -> list[str]:
    """The options that hide what was found to be text."""
    return ["--fill", fill, "--input", f"text_area={lot.scores}"]


def _templates(templates: tuple[str, ...]) -> list[str]:
    return [part for template in templates for part in ("--template", template)]


def main(
    size: Annotated[str, typer.Option(help="smoke or small.")] = "small",
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of tiny_imagenet/ and grocery/.", envvar="LESSTEXT_DATA"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder (default: reading-out/SIZE).")] = None,
    given: Annotated[
        Path | None,
        typer.Option("--models", help="Folder of a finished reproduction or tournament."),
    ] = None,
    until: Annotated[str, typer.Option(help=f"Last stage: {', '.join(STAGES)}.")] = "training",
) -> None:
    """From photos to the table; exit code 3 means that the experiment is void."""
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch: figures follow the number of threads
    if until not in STAGES:
        raise typer.BadParameter(f"--until must be one of {', '.join(STAGES)}, got {until!r}")
    if data is None:
        raise typer.BadParameter("name the folder of tiny_imagenet/ and grocery/ by --data")
    plan = ReadingPlan(load_reading(size), out or Path("reading-out") / size, given)
    freeze(plan.out, {**plan.size.as_dict(), "models_given": str(given) if given else ""})
    plan.commands("any").parent.mkdir(parents=True, exist_ok=True)
    names = list(STAGES)
    done = names[: names.index(until) + 1]
    logs = {name: CommandLog(plan.commands(name)) for name in done}

    def stop(*_: object) -> None:
        for log in logs.values():
            log.stop()

    signal.signal(signal.SIGTERM, stop)
    try:
        for name in done:
            STAGES[name](plan, data, logs[name])
    except LesstextError as error:
        typer.echo(f"reading_selector: {error}", err=True)
        raise typer.Exit(2) from None
    if _REPORTED in done:
        show(plan)


def show(plan: ReadingPlan) -> None:
    """Report what is done, and how long each stage took."""
    found = gate(read_kept(plan.scenes, [plan.picks("pilot", plan.models.plan.size.pilot_seed)]))
    typer.echo(write_reading(plan, found))
    took = ", ".join(f"{stage} {found:.0f} s" for stage, found in seconds(plan).items())
    typer.echo(f"commands: {took}\nresults: {plan.results}")


if __name__ == "__main__":
    typer.run(main)
