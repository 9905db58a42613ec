"""Everything that the page says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lesstext import __version__
from lesstext.entities.labels.rule import REASONS
from lesstext.report.script_data import sheet_data

if TYPE_CHECKING:
    from lesstext.entities.labels.reading import Labels
    from lesstext.report.rows import TroubleGroup
    from lesstext.report.sheets import Sheets
    from lesstext.report.thresholds import Bar
    from lesstext.report.timings import Timings


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Everything the page says. samples read = kept + dropped + failed.

    Without ratios, `thresholds` and what rests on them are empty.
    """

    title: str
    id: str
    seed: int
    annotators: list[tuple[str, str]]
    has_ratio: bool
    n_shards: int
    counts: dict[str, int]
    thresholds: list[float]
    chosen: int
    at_or_below: list[int]
    bars: list[Bar]
    n_seen: dict[str, int]
    failures: list[TroubleGroup]
    notes: list[TroubleGroup]
    damaged: list[tuple[str, list[str]]]
    without_table: list[str]
    timings: Timings
    samples: dict[str, list[Any]]
    sheets: Sheets
    panels: dict[str, dict[str, Any]]
    panel_scripts: list[tuple[str, str]]
    labels: Labels | None

    version: str = __version__

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
    def n_shown(self) -> int:
        return len(self.samples["key"])

    @property
    def missing_pictures(self) -> dict[str, int]:
        """Usable samples on the page that have no picture, by reason."""
        pairs = zip(self.samples["missing"], self.samples["status"], strict=True)
        reasons = [reason for reason, status in pairs if reason is not None and status == "ok"]
        return {reason: reasons.count(reason) for reason in sorted(set(reasons))[:20]}

    @property
    def why_unlabelled(self) -> list[tuple[str, int]]:
        """Images without a label by reason, in the order in which reasons are found out."""
        drops = {} if self.labels is None else self.labels.drops
        return [(reason, drops[reason]) for reason in REASONS if reason in drops]

    def for_script(self) -> dict[str, Any]:
        """What the page's script needs."""
        return {
            "id": self.id,
            "hasRatio": self.has_ratio,
            "thresholds": self.thresholds,
            "atOrBelow": self.at_or_below,
            "bars": [[bar.start, bar.end, bar.count] for bar in self.bars],
            "chosen": self.chosen,
            "seen": self.n_seen,
            "samples": self.samples,
            "sheets": sheet_data(self.sheets),
            "panels": self.panels,
        }
