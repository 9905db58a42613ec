"""`write_report`: tables and shards in, one HTML page out, with a folder of thumbnails if many."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from lesstext.entities.labels.reading import Labels, read_labels
from lesstext.errors import TableError, UsageError
from lesstext.report.findings import Findings
from lesstext.report.panels import find_panel
from lesstext.report.pictures import PictureReader
from lesstext.report.rendering import render
from lesstext.report.rows import ReportRows
from lesstext.report.samples import Shown, ShownPanel, choose, load
from lesstext.report.script_data import panel_data, sample_columns
from lesstext.report.sheets import TILE_PX, make_sheets, remove_other_sheets, sheets_folder
from lesstext.report.thresholds import histogram_bars, threshold_grid
from lesstext.report.timings import Timings, read_timings
from lesstext.shards.names import known_as
from lesstext.shards.specs import ShardSource, input_places
from lesstext.storage.files import write_text
from lesstext.storage.guard import refuse_foreign, refuse_overlap
from lesstext.storage.paths import Location, local_mirror
from lesstext.tables.folder import TableFolder, TableSource, open_tables
from lesstext.tables.selecting import tables_digest
from lesstext.tables.table import STATS_SUFFIX, stats_path
from lesstext.tables.together import check_names, check_together

DEFAULT_N_SAMPLES = 5000
MAX_SAMPLES = 100_000
DEFAULT_TITLE = "Text-area report"
_N_TROUBLES = 8
_MAX_SEED = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Options:
    """How the page is to be; raises UsageError for values out of range."""

    max_text_area: float
    title: str
    n_samples: int
    seed: int

    def __post_init__(self) -> None:
        if not 0.0 <= self.max_text_area <= 1.0:
            raise UsageError(
                f"the text-area threshold must lie in [0, 1], got {self.max_text_area}"
            )
        if not 0 <= self.n_samples <= MAX_SAMPLES:
            raise UsageError(
                f"the number of samples must lie in [0, {MAX_SAMPLES}], got {self.n_samples}"
            )
        if not 0 <= self.seed <= _MAX_SEED:
            raise UsageError(f"the seed must not be negative, nor 2^63 or more, got {self.seed}")


def write_report(
    tables: Location | Sequence[TableSource],
    shards: Sequence[ShardSource] | None,
    out: Location,
    *,
    max_text_area: float,
    title: str | None = None,
    n_samples: int = DEFAULT_N_SAMPLES,
    seed: int = 0,
    labels: Location | None = None,
) -> None:
    """Write the report of table folders as one HTML page that needs no network.

    `max_text_area` in [0, 1] is the threshold that the page opens with. Counts are of all rows,
    pictures of at most `n_samples`, drawn by `seed`; where they are many, their thumbnails lie in
    a folder beside the page. Images come from `shards`; where those are None, absent or changed,
    the page says so in their place. `labels` is what `entities label` made of tables of picks
    among these: the page says what became of the images. Equal inputs give equal files.

    Raises UsageError for values out of range and labels of other tables, TableError for tables
    that are missing, do not belong together or do not add up.
    """
    options = _Options(
        max_text_area=max_text_area, title=title or DEFAULT_TITLE, n_samples=n_samples, seed=seed
    )
    sources = list(tables) if isinstance(tables, Sequence) else [TableSource(tables)]
    folders = [source.folder for source in sources]
    read = [*folders, *input_places((), shards or ()), *([] if labels is None else [labels])]
    for target in (out, sheets_folder(out)):
        refuse_overlap(target, read)
    refuse_foreign(out, "report")
    with ExitStack() as stack:
        opened = _with_ratio_first([stack.enter_context(open_tables(one)) for one in sources])
        check_names(opened, ())
        check_together(opened)
        of_tables = None if labels is None else _labels_of(opened, labels)
        findings = _find(opened, shards, options, out, of_tables)
    write_text(out, render(findings), "report")
    remove_other_sheets(out, findings.sheets.folder)


def _with_ratio_first(folders: Sequence[TableFolder]) -> list[TableFolder]:
    return sorted(folders, key=lambda folder: "text_area_ratio" not in folder.columns)


def _labels_of(folders: Sequence[TableFolder], path: Location) -> Labels:
    labels = read_labels(path)
    if labels.selection.tables_digest not in {tables_digest([folder]) for folder in folders}:
        raise UsageError(f"{path} was not made of any of these tables: label again")
    return labels


def _find(
    folders: Sequence[TableFolder],
    shards: Sequence[ShardSource] | None,
    options: _Options,
    out: Location,
    labels: Labels | None,
) -> Findings:
    rows = ReportRows(folders[0], options.seed)
    footers = rows.folder.footers
    shown_apart = folders[1:] if rows.has_ratio else folders
    others = [ShownPanel(one, find_panel(one.annotator_name, one.columns)) for one in shown_apart]
    counts = rows.counts()
    thresholds, place = threshold_grid(options.max_text_area) if rows.has_ratio else ([], 0)
    at_or_below = rows.at_or_below(thresholds) if rows.has_ratio else []
    if rows.has_ratio:
        _check_ratios(rows.folder, counts, at_or_below[-1])
    chosen = choose(rows, others, options.max_text_area, options.n_samples)
    samples = load(rows, chosen.ids, others)
    scored = {footer.shard for footer in footers}
    shards = None if shards is None else known_as(shards, scored)
    sheets = make_sheets(samples, PictureReader(shards, footers, TILE_PX, samples), out)
    return Findings(
        title=options.title,
        id=folders[0].digest,
        seed=options.seed,
        annotators=[(folder.name, folder.annotator) for folder in folders],
        has_ratio=rows.has_ratio,
        n_shards=len(footers),
        counts=counts,
        thresholds=thresholds,
        chosen=place,
        at_or_below=at_or_below,
        bars=histogram_bars(thresholds, at_or_below) if rows.has_ratio else [],
        n_seen=chosen.n_seen,
        failures=rows.failures(_N_TROUBLES),
        notes=rows.notes(_N_TROUBLES),
        damaged=[(footer.shard, footer.problems) for footer in footers if footer.problems],
        without_table=sorted({source.name for source in shards or ()} - scored),
        timings=_timings(folders[0]),
        samples=sample_columns(samples, sheets.placed, footers),
        sheets=sheets,
        panels=_panels(rows, others, samples),
        panel_scripts=[(other.folder.name, other.panel.script) for other in others],
        labels=labels,
    )


def _panels(
    rows: ReportRows, others: Sequence[ShownPanel], samples: Sequence[Shown]
) -> dict[str, dict[str, Any]]:
    wholes = {
        other.folder.name: other.panel.whole(partial(rows.ask, other.folder)) for other in others
    }
    return panel_data(samples, wholes)


def _timings(folder: TableFolder) -> Timings:
    with local_mirror(folder.source.folder, [f"*{STATS_SUFFIX}"]) as stats:
        return read_timings(stats_path(stats, footer.shard) for footer in folder.footers)


def _check_ratios(folder: TableFolder, counts: dict[str, int], n_with_ratio: int) -> None:
    n_ok = counts.get("ok", 0)
    if n_with_ratio != n_ok:
        raise TableError(
            f"{folder.source.folder}: {n_ok} samples are ok but {n_with_ratio} have a ratio "
            "in [0, 1]"
        )
