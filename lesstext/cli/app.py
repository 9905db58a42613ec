"""The `lesstext` command. Heavy imports live inside the commands: `--help` must stay instant."""

from __future__ import annotations

from typing import Annotated

import typer

from lesstext.cli.datacomp.group import datacomp
from lesstext.cli.entities.group import entities
from lesstext.cli.lazy import AnnotatorGroup, made_by
from lesstext.cli.options import AllowPipe, Engine, Replace, Shards
from lesstext.console import new_command, run

app = new_command("lesstext", "Find and remove text-dominated images from WebDataset shards.")


app.add_typer(
    typer.Typer(cls=AnnotatorGroup, rich_markup_mode="markdown"),
    name="annotate",
    no_args_is_help=True,
    help="Run an annotator over shards: one table for each, one row per sample.",
    epilog="Example: `lesstext annotate text_area laion/ --out scores/`",
)


app.add_typer(
    entities,
    name="entities",
    no_args_is_help=True,
    help="Entities that captions name and images show: knowledge bases, mentions, labels.",
    epilog="Example: `lesstext entities find laion/ --out mentions/`",
)


app.add_typer(
    datacomp,
    name="datacomp",
    no_args_is_help=True,
    help="Subset lists for DataComp: chosen by metadata, combined, bundled to be submitted.",
    epilog="Example: `lesstext datacomp combine intersect top.npy basic.npy --out both.npy`",
)


@app.command(
    cls=made_by("lesstext.cli.annotate:score"),
    epilog="Example: `lesstext score laion/ --out scores/ --device cuda`",
)
def score() -> None:
    """Run the text detector over shards and write one table for each (`annotate text_area`).

    A second run does only what is missing. Exit code 1 means that some shards failed or are
    damaged; they are listed by name.
    """


@app.command(
    cls=made_by("lesstext.cli.select:select_command"),
    epilog="Example: `lesstext select scores/ --out keep.parquet --max-text-area 0.005`",
)
def select() -> None:
    """Decide by a rule which samples to keep; never looks at an image again.

    Tables of several annotators are joined sample by sample; a column that two of them have is
    reached as `annotator.column`. The control is written beside the selection as
    NAME.control.parquet.
    """


@app.command(epilog="Example: `lesstext export laion/ --selection keep.parquet --out clean/`")
def export(
    shards: Shards,
    selection: Annotated[str, typer.Option(help="Selection file.")],
    out: Annotated[str, typer.Option(help="Folder or URL for the filtered shards.")],
    samples_per_shard: Annotated[
        int | None, typer.Option(help="Repack into shards of this many samples.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="Labels file: its columns go into the sidecars.")
    ] = None,
    carry: Annotated[
        list[str] | None,
        typer.Option(help="TABLES:column,column: columns of tables that go into the sidecars."),
    ] = None,
    engine: Engine = "local",
    workers: Annotated[int | None, typer.Option(help="Processes. [cores]")] = None,
    replace: Replace = False,
    allow_pipe: AllowPipe = False,
) -> None:
    """Write filtered shards: the kept samples' files, byte for byte, in order.

    Beside each shard stands a parquet file: the rows of the parquet beside the input, if there is
    one, and what was measured.
    """
    from lesstext.cli import commands
    from lesstext.export.plan import ExportConfig
    from lesstext.export.sidecar import parse_carry
    from lesstext.storage.paths import location

    config = ExportConfig(
        shards=tuple(shards),
        selection=location(selection),
        out=location(out),
        samples_per_shard=samples_per_shard,
        labels=None if labels is None else location(labels),
        carry=tuple(parse_carry(text) for text in carry or ()),
        engine=engine,
        workers=workers,
        replace=replace,
        allow_pipe=allow_pipe,
    )
    raise typer.Exit(commands.export(config))


@app.command(
    "filter",
    cls=made_by("lesstext.cli.filter:filter_command"),
    epilog="Example: `lesstext filter laion/ --out clean/`",
)
def filter_() -> None:
    """Score, select, export and report in one go.

    Writes OUT/shards/, OUT/scores/, OUT/selection.parquet and OUT/report.html.
    """


@app.command(epilog="Example: `lesstext report scores/ --shards laion/ --out report.html`")
def report(
    tables: Annotated[
        list[str],
        typer.Argument(
            help="Folders or URLs of tables, one for each annotator; `NAME=FOLDER` renames one.",
            metavar="TABLES...",
        ),
    ],
    out: Annotated[str, typer.Option(help="HTML file to write.")],
    shards: Annotated[
        list[str] | None, typer.Option(help="Where the images are; without, none are shown.")
    ] = None,
    max_text_area: Annotated[float, typer.Option(help="Where the slider starts.")] = 0.005,
    title: Annotated[str | None, typer.Option(help="Heading of the page.")] = None,
    samples: Annotated[int, typer.Option(help="Samples shown at most; counts are of all.")] = 5000,
    seed: Annotated[int, typer.Option(help="Draws the samples that are shown.")] = 0,
    labels: Annotated[
        str | None, typer.Option(help="What `entities label` made of these picks, to be told too.")
    ] = None,
) -> None:
    """Write an offline page: histogram, slider, thousands of pictures, marks, failures, speed."""
    from lesstext.report import write_report
    from lesstext.shards.specs import expand_specs
    from lesstext.storage.paths import location
    from lesstext.tables.folder import parse_source

    sources = expand_specs(shards) if shards else None
    write_report(
        [parse_source(text) for text in tables],
        sources,
        location(out),
        max_text_area=max_text_area,
        title=title,
        n_samples=samples,
        seed=seed,
        labels=None if labels is None else location(labels),
    )
    print(out)


@app.command(
    cls=made_by("lesstext.cli.detect:detect_command"),
    epilog="Example: `lesstext detect photo.jpg --out annotated/`",
)
def detect() -> None:
    """Look at single images: text-area ratio, regions, and a picture with them drawn in."""


@app.command(epilog="Example: `lesstext verify laion/ --scores scores/ --full`")
def verify(
    shards: Shards,
    scores: Annotated[
        str | None, typer.Option(help="Also compare with the score tables of this folder.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="With --scores: only look whether tables are there.")
    ] = False,
    full: Annotated[
        bool, typer.Option("--full", help="With --scores: compare all bytes, read all rows.")
    ] = False,
    allow_pipe: AllowPipe = False,
) -> None:
    """Find truncated, concatenated, interleaved, duplicated or miscounted shards."""
    from lesstext.errors import UsageError
    from lesstext.shards.specs import expand_specs
    from lesstext.storage.paths import location
    from lesstext.verify import leftovers, verify_shards

    if quick and (full or scores is None):
        raise UsageError("--quick needs --scores, and does not go with --full")
    n_bad = 0
    sources = expand_specs(shards, allow_pipe=allow_pipe)
    tables = None if scores is None else location(scores)
    for verdict in verify_shards(sources, tables=tables, full=full, quick=quick):
        n_bad += bool(verdict.problems)
        print(
            f"{verdict.shard}: {verdict.n_samples} samples, {'BAD' if verdict.problems else 'ok'}"
        )
        for problem in verdict.problems:
            print(f"  {problem}")
    for path in [] if tables is None else leftovers(tables):
        print(f"left over by a run that was killed, or at work: {path}")
    print(f"{len(sources)} shards, {n_bad} with problems")
    raise typer.Exit(1 if n_bad else 0)


def main() -> None:
    """Entry point."""
    run(app)
