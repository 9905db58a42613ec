"""Measure what picks cost: images per CPU-second in one process, the share of each stage, and what
a billion images take.

    python scripts/benchmarks/bench_picks.py SHARDS MENTIONS OUT --kb KB --model NAME --pretrained W

Stages are timed by the clock on the wall, the whole by the process's own.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from lesstext.annotators.picks import Picks
from lesstext.engines.local import InlineEngine
from lesstext.engines.whole_run import RunConfig, execute, plan

BILLION = 1_000_000_000


def main(
    shards: Annotated[str, typer.Argument(help="Shards.")],
    mentions: Annotated[Path, typer.Argument(help="Their mentions.")],
    out: Annotated[Path, typer.Argument(help="Folder for the tables.")],
    kb: Annotated[str | None, typer.Option(help="Their knowledge base.")] = None,
    selector: Annotated[str, typer.Option(help="clip or a plug-in.")] = "clip",
    model: Annotated[str | None, typer.Option(help="As for `entities pick`.")] = None,
    pretrained: Annotated[str | None, typer.Option(help="As for `entities pick`.")] = None,
) -> None:
    """Print the figures as JSON."""
    annotator = Picks(
        kb=kb, selector=selector, model=model, pretrained=pretrained, texts=str(out / "texts")
    )
    config = RunConfig(
        shards=(shards,), out=out / "picks", annotator=annotator, inputs={"mentions": mentions}
    )
    todo = plan(config)
    start = time.process_time()
    summary = execute(config, todo, InlineEngine(annotator))
    cpu_s = time.process_time() - start
    seconds: Counter[str] = Counter()
    for report in summary.reports:
        seconds.update(report.seconds)
    n_images, total = sum(summary.counts.values()), seconds.pop("total")
    figures = {
        "annotator": todo.annotator_id,
        "images": n_images,
        "images_per_cpu_s": n_images / cpu_s,
        "cpu_h_per_billion": cpu_s / n_images * BILLION / 3600,
        "stages": {stage: spent / total for stage, spent in seconds.most_common()},
    }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    typer.run(main)
