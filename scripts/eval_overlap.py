"""Whether text that repeats its caption is found, against what was drawn into a corpus.

    python scripts/make_corpus.py tiny_imagenet/ --out corpus/ --fonts 3 --misfit-share 0.15
    lesstext score corpus/train --out areas/ --size 256
    lesstext annotate words corpus/train --out words/ --detector none --input text_area=areas/
    lesstext annotate overlap corpus/train --out overlap/ --input words=words/
    python scripts/eval_overlap.py overlap/ corpus/truth --out results/

Shards without a table are left out. `results.json` and `table.md` hold nothing that differs
between two runs.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from contest.report import MEASURES, parrot_lines
from contest.truth import parrot_truth

from lesstext.errors import LesstextError
from lesstext.storage.files import plain, write_text


def main(
    overlap: Annotated[Path, typer.Argument(help="Tables of overlap.")],
    truth: Annotated[Path, typer.Argument(help="The corpus' folder truth/.")],
    out: Annotated[Path, typer.Option(help="Folder for results.json and table.md.")],
) -> None:
    """Precision and recall, with intervals, by kind of text."""
    try:
        found = [parrot_truth(overlap, truth, measure) for measure in MEASURES]
    except LesstextError as error:
        typer.echo(f"eval_overlap: {error}", err=True)
        raise typer.Exit(2) from error
    table = "\n".join(line for one in found for line in parrot_lines(one)).rstrip("\n") + "\n"
    stored = json.dumps([plain(asdict(one)) for one in found], indent=2) + "\n"
    write_text(out / "results.json", stored, unguarded=True)
    write_text(out / "table.md", table, unguarded=True)
    typer.echo(table)


if __name__ == "__main__":
    typer.run(main)
