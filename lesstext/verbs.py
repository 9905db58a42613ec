"""What the commands do, as plain calls: for notebooks and for scripts of one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lesstext.annotators.base import Annotator
from lesstext.annotators.text_area import TextArea
from lesstext.engines import engine_for
from lesstext.engines.task import ShardReport
from lesstext.engines.whole_run import RunConfig, RunSummary, execute, plan
from lesstext.export.plan import ExportConfig
from lesstext.export.sidecar import parse_carry
from lesstext.export.whole_run import ExportSummary, export
from lesstext.policies import text_area
from lesstext.shards.opening import Shards, as_specs
from lesstext.storage.paths import Location, location
from lesstext.tables import selecting
from lesstext.tables.rule import Rule
from lesstext.tables.selection import Selection


def annotate(
    shards: Shards,
    out: Location | str,
    annotator: Annotator,
    *,
    inputs: Mapping[str, Location | str] | None = None,
    engine: str = "local",
    device: str = "auto",
    workers: int | None = None,
    limit: int | None = None,
    on_report: Callable[[ShardReport], None] | None = None,
) -> RunSummary:
    """Write the tables of `annotator` that are missing in `out`, one per shard.

    `shards` are specs as the command line takes them, `inputs` the table folders of other
    annotators by name; `limit` takes only the first shards. `on_report` hears of each shard as it
    is finished. With a local engine the calling script needs `if __name__ == "__main__":`, for
    its workers are processes that import it. Raises UsageError and AnnotatorError; shards that
    fail are in the summary.
    """
    config = RunConfig(
        shards=as_specs(shards),
        out=location(out),
        annotator=annotator,
        inputs={name: location(folder) for name, folder in (inputs or {}).items()},
        engine=engine,
        device=device,
        workers=workers,
        limit=limit,
    )
    todo = plan(config)
    runs_on = engine_for(config.engine, todo.annotator, todo.placements, todo.annotator_id)
    return execute(config, todo, runs_on, on_report)


def score(
    shards: Shards,
    out: Location | str,
    options: TextArea | None = None,
    *,
    engine: str = "local",
    device: str = "auto",
    workers: int | None = None,
    limit: int | None = None,
) -> RunSummary:
    """Write the missing score tables of shards: `annotate` with the text-area annotator."""
    annotator = options or TextArea()
    return annotate(
        shards, out, annotator, engine=engine, device=device, workers=workers, limit=limit
    )


def select(
    tables: Location | str | Sequence[Location | str],
    out: Location | str,
    rule: Rule,
    *,
    metadata: Path | str | None = None,
    control: Location | None = None,
    also: Sequence[Location | str] = (),
) -> Selection:
    """Apply `rule` to the tables below one or several folders and write the selection to `out`.

    Several are joined sample by sample; each must have a table of every shard. `metadata` is a
    folder of img2dataset or DataComp parquet files to join; `control` is where to write a random
    selection of equal size; `also` what to write beside it (.csv, .txt, DataComp's .npy). What is
    odd, as that nothing is kept, is logged as a warning; `Selection.joined` counts what was joined.
    Raises TableError for tables that are missing, damaged or do not belong together, UsageError
    for a rule that cannot be used.
    """
    return selecting.select(
        tables,
        out,
        rule,
        metadata=metadata,
        control=control,
        also=also,
        carry=text_area.MEASURED,
    )


def export_shards(
    shards: Shards,
    selection: Location | str,
    out: Location | str,
    *,
    samples_per_shard: int | None = None,
    labels: Location | str | None = None,
    carry: Sequence[str] = (),
    engine: str = "local",
    workers: int | None = None,
) -> ExportSummary:
    """Write the kept samples' files, byte for byte, in order; shards that fail are in the summary.

    Beside each shard stands a parquet of its samples' metadata and what was measured; into it go
    the columns of the selection `labels`, and those of tables: `carry` holds `FOLDER:col,col`.
    Raises UsageError, and TableError where shards have changed since they were annotated.
    """
    return export(
        ExportConfig(
            shards=as_specs(shards),
            selection=location(selection),
            out=location(out),
            samples_per_shard=samples_per_shard,
            labels=None if labels is None else location(labels),
            carry=tuple(parse_carry(text) for text in carry),
            engine=engine,
            workers=workers,
        )
    )
