"""The `lesstext` command. Heavy imports live inside the commands: `--help` must stay instant."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lesstext.cli.options import (
    AllowPipe,
    Detector,
    Device,
    DryRun,
    Engine,
    Force,
    Helpers,
    Limit,
    MaxPixels,
    MaxTextArea,
    NoRegions,
    Options,
    Precision,
    Seed,
    Shards,
    Size,
    Slice,
    Threads,
    Verbose,
    Weights,
    Workers,
)

if TYPE_CHECKING:
    from lesstext.text_detection.protocol import DetectorSettings

app = typer.Typer(
    name="lesstext",
    help="Find and remove text-dominated images from WebDataset shards.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


@app.command(epilog="Example: `lesstext score laion/ --out scores/ --device cuda`")
def score(
    shards: Shards,
    out: Annotated[str, typer.Option(help="Folder or URL for the score tables.")],
    detector: Detector = "craft",
    size: Size = None,
    precision: Precision = None,
    weights: Weights = None,
    option: Options = None,
    engine: Engine = "local",
    device: Device = "auto",
    workers: Workers = None,
    helpers: Helpers = None,
    threads: Threads = 1,
    max_pixels: MaxPixels = 100_000_000,
    no_regions: NoRegions = False,
    force: Force = False,
    dry_run: DryRun = False,
    limit: Limit = None,
    slice_: Slice = "0/1",
    allow_pipe: AllowPipe = False,
    verbose: Verbose = False,
) -> None:
    """Run the text detector over shards and write one score table for each.

    A second run does only what is missing. Exit code 1 means that some shards failed or are
    damaged; they are listed by name.
    """
    from lesstext.cli import commands
    from lesstext.cli.terminal import set_up_logging
    from lesstext.engines.whole_run import ScoreConfig
    from lesstext.storage.paths import location

    set_up_logging(verbose)
    config = ScoreConfig(
        shards=tuple(shards),
        out=location(out),
        detector=_detector_settings(detector, size, precision, weights, option, threads),
        engine=engine,
        device=device,
        workers=workers,
        helpers=helpers,
        max_pixels=max_pixels,
        keep_regions=not no_regions,
        force=force,
        limit=limit,
        slice=_slice(slice_),
        allow_pipe=allow_pipe,
    )
    raise typer.Exit(commands.estimate(config) if dry_run else commands.score(config))


@app.command(epilog="Example: `lesstext select scores/ --out keep.parquet --max-text-area 0.005`")
def select(
    scores: Annotated[str, typer.Argument(help="Folder or URL of score tables.")],
    out: Annotated[str, typer.Option(help="Selection file to write (parquet).")],
    require: Annotated[
        list[str] | None,
        typer.Option(help="Refuse unless every one of these shards has its table."),
    ] = None,
    max_text_area: MaxTextArea = None,
    keep_fraction: Annotated[
        float | None, typer.Option(help="Keep this share of ok samples, lowest ratio first.")
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(help='SQL over score columns: "text_area_ratio < 0.02 and width >= 200".'),
    ] = None,
    metadata: Annotated[
        Path | None,
        typer.Option(help="Folder of img2dataset or DataComp parquet; columns as meta.NAME."),
    ] = None,
    control: Annotated[
        str | None,
        typer.Option(help="`random`: also write a random selection of equal size."),
    ] = None,
    seed: Seed = 0,
    on_failed: Annotated[str, typer.Option(help="drop or keep samples that failed.")] = "drop",
    npy: Annotated[
        str | None, typer.Option(help="Also write DataComp's u8,u8 subset file here.")
    ] = None,
) -> None:
    """Decide by a rule which samples to keep; never looks at an image again.

    The control is written beside the selection as NAME.control.parquet.
    """
    from lesstext.cli.terminal import print_selection
    from lesstext.errors import UsageError
    from lesstext.shards.specs import expand_specs
    from lesstext.storage.paths import location
    from lesstext.tables.selection import Rule, read_selection
    from lesstext.tables.selection import select as run_select
    from lesstext.verify import require_tables

    if on_failed not in ("drop", "keep"):
        raise UsageError(f"--on-failed must be drop or keep, got {on_failed!r}")
    if control not in (None, "random"):
        raise UsageError(f"--control must be random, got {control!r}")
    rule = Rule(
        max_text_area=max_text_area,
        keep_fraction=keep_fraction,
        where=where,
        seed=seed,
        keep_failed=on_failed == "keep",
    )
    tables, target = location(scores), location(out)
    if require is not None:
        require_tables(expand_specs(require), tables)
    control_path = target.with_suffix(".control.parquet") if control else None
    subset_file = None if npy is None else location(npy)
    selection = run_select(
        tables, target, rule, metadata=metadata, control=control_path, npy=subset_file
    )
    print_selection(selection)
    if control_path is not None:
        print_selection(read_selection(control_path))


@app.command(epilog="Example: `lesstext export laion/ --selection keep.parquet --out clean/`")
def export(
    shards: Shards,
    selection: Annotated[str, typer.Option(help="Selection file.")],
    out: Annotated[str, typer.Option(help="Folder or URL for the filtered shards.")],
    samples_per_shard: Annotated[
        int | None, typer.Option(help="Repack into shards of this many samples.")
    ] = None,
    engine: Engine = "local",
    workers: Annotated[int | None, typer.Option(help="Processes. [cores]")] = None,
    force: Force = False,
    allow_pipe: AllowPipe = False,
) -> None:
    """Write filtered shards: the kept samples' files, byte for byte, in order."""
    from lesstext.cli import commands
    from lesstext.export import ExportConfig
    from lesstext.storage.paths import location

    config = ExportConfig(
        shards=tuple(shards),
        selection=location(selection),
        out=location(out),
        samples_per_shard=samples_per_shard,
        engine=engine,
        workers=workers,
        force=force,
        allow_pipe=allow_pipe,
    )
    raise typer.Exit(commands.export(config))


@app.command("filter", epilog="Example: `lesstext filter laion/ --out clean/`")
def filter_(
    shards: Shards,
    out: Annotated[
        str, typer.Option(help="Folder or URL for shards, scores, selection and report.")
    ],
    max_text_area: Annotated[
        float, typer.Option(help="Keep images whose text-area ratio is at most this.")
    ] = 0.005,
    samples_per_shard: Annotated[
        int | None, typer.Option(help="Repack into shards of this many samples.")
    ] = None,
    detector: Detector = "craft",
    size: Size = None,
    precision: Precision = None,
    weights: Weights = None,
    option: Options = None,
    engine: Engine = "local",
    device: Device = "auto",
    workers: Workers = None,
    helpers: Helpers = None,
    threads: Threads = 1,
    max_pixels: MaxPixels = 100_000_000,
    force: Force = False,
    dry_run: DryRun = False,
    limit: Limit = None,
    allow_pipe: AllowPipe = False,
    verbose: Verbose = False,
) -> None:
    """Score, select, export and report in one go.

    Writes OUT/shards/, OUT/scores/, OUT/selection.parquet and OUT/report.html.
    """
    from lesstext.cli import commands
    from lesstext.cli.terminal import set_up_logging
    from lesstext.engines.whole_run import ScoreConfig
    from lesstext.storage.paths import location
    from lesstext.tables.selection import Rule

    set_up_logging(verbose)
    config = ScoreConfig(
        shards=tuple(shards),
        out=location(out) / "scores",
        detector=_detector_settings(detector, size, precision, weights, option, threads),
        engine=engine,
        device=device,
        workers=workers,
        helpers=helpers,
        max_pixels=max_pixels,
        force=force,
        limit=limit,
        allow_pipe=allow_pipe,
    )
    rule = Rule(max_text_area=max_text_area)
    if dry_run:
        raise typer.Exit(commands.estimate(config))
    raise typer.Exit(commands.filter_shards(config, rule, location(out), samples_per_shard))


@app.command(epilog="Example: `lesstext report scores/ --shards laion/ --out report.html`")
def report(
    scores: Annotated[str, typer.Argument(help="Folder or URL of score tables.")],
    out: Annotated[str, typer.Option(help="HTML file to write.")],
    shards: Annotated[
        list[str] | None, typer.Option(help="Where the images are; without, none are shown.")
    ] = None,
    max_text_area: Annotated[float, typer.Option(help="Where the slider starts.")] = 0.005,
    title: Annotated[str | None, typer.Option(help="Heading of the page.")] = None,
    examples: Annotated[
        int, typer.Option(help="Images embedded in the page, about 20 kB each.")
    ] = 240,
) -> None:
    """Write one self-contained page: histogram, kept share, examples, failures, speed."""
    from lesstext.report import write_report
    from lesstext.shards.specs import expand_specs
    from lesstext.storage.paths import location

    sources = expand_specs(shards) if shards else None
    write_report(
        location(scores),
        sources,
        location(out),
        max_text_area=max_text_area,
        title=title,
        n_examples=examples,
    )
    print(out)


@app.command(epilog="Example: `lesstext detect photo.jpg --out annotated/`")
def detect(
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    out: Annotated[Path | None, typer.Option(help="Folder for annotated pictures.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print regions as JSON lines.")] = False,
    detector: Detector = "craft",
    size: Size = None,
    precision: Precision = None,
    weights: Weights = None,
    option: Options = None,
    device: Device = "auto",
    threads: Threads = 1,
) -> None:
    """Look at single images: text-area ratio, regions, and a picture with them drawn in."""
    from dataclasses import replace

    from lesstext.cli.inspect_image import inspect_image
    from lesstext.engines.devices import resolve_devices
    from lesstext.text_detection.protocol import load_detector

    settings = _detector_settings(detector, size, precision, weights, option, threads)
    loaded = load_detector(replace(settings, device=resolve_devices(device)[0]))
    results = [inspect_image(path, loaded, out) for path in images]
    for result in results:
        print(result.as_json() if as_json else result.as_line())
    raise typer.Exit(1 if any(result.error for result in results) else 0)


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
        bool, typer.Option("--full", help="With --scores: compare whole-file SHA-256.")
    ] = False,
    allow_pipe: AllowPipe = False,
) -> None:
    """Find truncated, concatenated, interleaved, duplicated or miscounted shards."""
    from lesstext.errors import UsageError
    from lesstext.shards.specs import expand_specs
    from lesstext.storage.paths import location
    from lesstext.verify import verify_shards

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
    print(f"{len(sources)} shards, {n_bad} with problems")
    raise typer.Exit(1 if n_bad else 0)


def main() -> None:
    """Entry point: errors that are not our mistakes become one line and an exit code."""
    from lesstext.errors import LesstextError, UsageError

    try:
        app()
    except (LesstextError, OSError) as error:  # an OSError: a full disk, a folder taken away
        print(f"lesstext: error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)


def _detector_settings(
    name: str,
    size: int | None,
    precision: str | None,
    weights: str | None,
    options: list[str] | None,
    threads: int,
) -> DetectorSettings:
    from lesstext.errors import UsageError
    from lesstext.text_detection.protocol import DetectorSettings

    pairs = [text.partition("=") for text in options or []]
    if any(not separator for _, separator, _ in pairs):
        raise UsageError("--detector-option takes NAME=VALUE")
    return DetectorSettings(
        name=name,
        size_px=size,
        precision=precision,
        weights=weights,
        options={key: value for key, _, value in pairs},
        threads=threads,
    )


def _slice(text: str) -> tuple[int, int]:
    from lesstext.errors import UsageError

    part, separator, n_parts = text.partition("/")
    if not (separator and part.isdigit() and n_parts.isdigit()):
        raise UsageError(f"--slice takes i/N such as 0/8, got {text!r}")
    return int(part), int(n_parts)
