"""Run the tournament of policies: corpus, attack, pilot, tables, selections, arms, reading, report.

Every stage leaves its result in the output folder and is not repeated where that is there. The
pilot, `all` with a seed of its own, is trained before anything that could compare arms; it is
also the model by which `t-mars` and `clip-score` score, so that nothing is downloaded.
"""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from contest.plan import ContestPlan, load_contest
from contest.reading import measure_reading
from contest.report import write_contest
from reproduce import (
    DATA_HELP,
    VOID,
    CommandLog,
    default_data,
    freeze,
    make_inputs,
    options,
    run_pilot,
)
from reproduction.plan import write_arms


def main(
    size: Annotated[str, typer.Option(help="smoke or small.")] = "small",
    data: Annotated[Path | None, typer.Option(help=DATA_HELP)] = None,
    out: Annotated[Path | None, typer.Option(help="Folder (default: tournament-out/SIZE).")] = None,
    precision: Annotated[str, typer.Option(help="Of all training, as train-clip's.")] = "fp32",
) -> None:
    """From Tiny-ImageNet to the table; exit code 3 means that the tournament is void."""
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch: figures follow the number of threads
    chosen = load_contest(size)
    chosen = replace(chosen, train={**chosen.train, "precision": precision})
    source = data or default_data()
    plan = ContestPlan(chosen, out or Path("tournament-out") / size)
    freeze(plan.out, plan.size.as_dict())
    log = CommandLog(plan.out / "commands.jsonl")
    signal.signal(signal.SIGTERM, lambda *_: log.stop())
    make_inputs(plan, source, log)
    found = run_pilot(plan, log)
    if chosen.claims and not found.passed:
        typer.echo(f"void: {found.text}; no other arm is trained", err=True)
        raise typer.Exit(VOID)
    annotate(plan, log)
    select(plan, log)
    write_arms(plan)
    arms = ["train-clip", "compare", str(plan.arms), "--out", str(plan.runs)]
    log.run([*arms, "--jobs", str(chosen.jobs)])
    for arm in chosen.arms:
        for seed in chosen.seeds:
            measure_reading(plan, arm, seed)
    typer.echo(write_contest(plan, found))
    typer.echo(f"results: {plan.results}")


def annotate(plan: ContestPlan, log: CommandLog) -> None:
    """The tables that the policies are rules over: text is sought once, for all of them."""
    shards, table = str(plan.train_shards), plan.table
    score = ["lesstext", "score", shards, "--out", str(table("text_area"))]
    log.run([*score, *options(plan.size.detector)])
    areas = ["--input", f"text_area={table('text_area')}"]
    words = ["lesstext", "annotate", "words", shards, "--out", str(table("words"))]
    log.run([*words, "--detector", "none", *areas])
    overlap = ["lesstext", "annotate", "overlap", shards, "--out", str(table("overlap"))]
    log.run([*overlap, "--input", f"words={table('words')}"])
    similarity = ["lesstext", "annotate", "similarity", shards, "--out", str(table("similarity"))]
    log.run([*similarity, "--model", f"local-dir:{plan.pilot}", *areas])


def select(plan: ContestPlan, log: CommandLog) -> None:
    """One selection for each arm that has a rule."""
    tables = [str(plan.table(name)) for name in ("text_area", "overlap", "similarity")]
    for arm, rule in plan.selecting.items():
        out = ["--out", str(plan.selection(arm))]
        log.run(["lesstext", "select", *tables, *out, *rule])


if __name__ == "__main__":
    typer.run(main)
