"""`write_report`: score tables and shards in, one HTML file out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lesstext import __version__
from lesstext.errors import TableError, UsageError
from lesstext.report.examples import N_SHOWN, Example, choose, load
from lesstext.report.pictures import PictureReader
from lesstext.report.rows import ScoreRows, TroubleGroup
from lesstext.report.thresholds import Bar, histogram_bars, threshold_grid
from lesstext.report.timings import Timings, read_timings
from lesstext.shards.names import known_as
from lesstext.shards.specs import ShardSource, input_places
from lesstext.storage.files import write_text
from lesstext.storage.guard import refuse_overlap
from lesstext.storage.paths import Location, local_mirror
from lesstext.tables.folder import TableFolder, TableSource, open_tables
from lesstext.tables.table import STATS_SUFFIX, stats_path

DEFAULT_N_EXAMPLES = 240
DEFAULT_TITLE = "Text-area report"
_N_TROUBLES = 8
_N_SHARDS_LISTED = 200
_TEMPLATE = "template.html.j2"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Findings:
    """Everything the page says. samples read = kept + dropped + failed."""

    title: str
    version: str
    annotator: str
    n_shards: int
    counts: dict[str, int]
    thresholds: list[float]
    chosen: int
    at_or_below: list[int]
    bars: list[Bar]
    failures: list[TroubleGroup]
    notes: list[TroubleGroup]
    damaged: list[tuple[str, list[str]]]
    without_table: list[str]
    timings: Timings
    examples: list[Example]

    @property
    def n_read(self) -> int:
        return sum(self.counts.values())

    @property
    def n_ok(self) -> int:
        return self.counts.get("ok", 0)

    @property
    def n_failed(self) -> int:
        return self.n_read - self.n_ok

    @property
    def max_text_area(self) -> float:
        return self.thresholds[self.chosen]

    @property
    def n_kept(self) -> int:
        return self.at_or_below[self.chosen]

    @property
    def n_dropped(self) -> int:
        return self.n_ok - self.n_kept

    @property
    def missing_pictures(self) -> dict[str, int]:
        """Examples without an image, by reason."""
        reasons = [example.missing for example in self.examples if example.missing is not None]
        return {reason: reasons.count(reason) for reason in sorted(set(reasons))}

    def for_script(self) -> dict[str, Any]:
        """What the page's script needs."""
        return {
            "thresholds": self.thresholds,
            "atOrBelow": self.at_or_below,
            "bars": [[bar.start, bar.end, bar.count] for bar in self.bars],
            "chosen": self.chosen,
            "nShown": N_SHOWN,
            "examples": [asdict(example) for example in self.examples],
        }


def write_report(
    scores: Location,
    shards: Sequence[ShardSource] | None,
    out: Location,
    *,
    max_text_area: float,
    title: str | None = None,
    n_examples: int = DEFAULT_N_EXAMPLES,
) -> None:
    """Write the report of all score tables below `scores` as one HTML file that needs no network.

    `max_text_area` in [0, 1] is the threshold the page opens with. `n_examples` samples are shown
    at most, each about 20 kB of the page. Images come from `shards`; where those are None, absent
    or changed, the page says so in their place. Equal inputs give an equal file.

    Raises UsageError for values out of range, TableError for tables that are missing, do not
    belong together or do not add up.
    """
    if not 0.0 <= max_text_area <= 1.0:
        raise UsageError(f"the text-area threshold must lie in [0, 1], got {max_text_area}")
    if n_examples < 0:
        raise UsageError(f"the number of examples must not be negative, got {n_examples}")
    refuse_overlap(out, [scores, *input_places((), shards or ())])
    stats_files = [f"*{STATS_SUFFIX}"]
    with open_tables(TableSource(scores)) as folder, local_mirror(scores, stats_files) as stats:
        timings = read_timings(stats_path(stats, footer.shard) for footer in folder.footers)
        findings = _find(
            ScoreRows(folder), shards, max_text_area, title or DEFAULT_TITLE, n_examples, timings
        )
    write_text(out, _render(findings), "report")


def _find(
    rows: ScoreRows,
    shards: Sequence[ShardSource] | None,
    max_text_area: float,
    title: str,
    n_examples: int,
    timings: Timings,
) -> _Findings:
    footers = rows.folder.footers
    counts = rows.counts()
    thresholds, place = threshold_grid(max_text_area)
    at_or_below = rows.at_or_below(thresholds)
    _check_ratios(rows.folder, counts, at_or_below[-1])
    chosen = choose(rows, max_text_area, n_examples)
    scored = {footer.shard for footer in footers}
    shards = None if shards is None else known_as(shards, scored)
    return _Findings(
        title=title,
        version=__version__,
        annotator=rows.folder.annotator,
        n_shards=len(footers),
        counts=counts,
        thresholds=thresholds,
        chosen=place,
        at_or_below=at_or_below,
        bars=histogram_bars(thresholds, at_or_below),
        failures=rows.failures(_N_TROUBLES),
        notes=rows.notes(_N_TROUBLES),
        damaged=[(footer.shard, footer.problems) for footer in footers if footer.problems],
        without_table=sorted({source.name for source in shards or ()} - scored),
        timings=timings,
        examples=load(rows, chosen, PictureReader(shards)),
    )


def _check_ratios(folder: TableFolder, counts: dict[str, int], n_with_ratio: int) -> None:
    n_ok = counts.get("ok", 0)
    if n_with_ratio != n_ok:
        raise TableError(
            f"{folder.source.folder}: {n_ok} samples are ok but {n_with_ratio} have a ratio "
            "in [0, 1]"
        )


def _render(findings: _Findings) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": True, "separators": (",", ":")}
    environment.filters["thousands"] = lambda number: f"{number:,}"
    environment.filters["plain"] = lambda ratio: repr(ratio).removesuffix(".0")
    template = environment.get_template(_TEMPLATE)
    return template.render(report=findings, n_shards_listed=_N_SHARDS_LISTED)
