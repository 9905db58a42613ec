"""The contract of panels: what the report shows of an annotator's tables.

A panel has two halves. The Python half says which columns it needs and makes plain values of them,
one per sample on the page and one for all rows together. The JavaScript half, `script`, calls
`lesstextReport.panel(NAME, {...})` with functions that turn those values into elements; the page
runs scripts that came with it and no others. `docs/extending.md` lists what it can define.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from lesstext.errors import UsageError
from lesstext.plugins import load_plugin, plugin_names

ENTRY_POINT_GROUP = "lesstext.report_panels"
MAX_TEXT_CHARS = 300
_MAX_ITEMS = 50

Ask = Callable[[str], list[tuple[Any, ...]]]
"""Runs a query over the view `rows`, all rows of the panel's tables: `shard`, `nr` and `row` (the
places of shard and sample), the base columns and the annotator's own."""


class Panel(ABC):
    """What the report shows of one annotator's tables; a subclass is registered by its name."""

    columns: ClassVar[tuple[str, ...]]
    """The columns that `sample` needs, of those that the tables have."""
    script: ClassVar[str]
    """JavaScript that registers the other half."""
    text_seen: ClassVar[str | None] = None
    """SQL over the table's columns that is true where the annotator saw text in the image."""

    @abstractmethod
    def sample(self, row: Mapping[str, Any]) -> Any:
        """What the page is told of one sample, as JSON knows it; None for nothing.

        `row` has the `columns` that the table holds.
        """

    def whole(self, ask: Ask) -> Any:
        """What the page is told of all rows together, as JSON knows it; None for nothing."""
        return None


class ColumnsPanel(Panel):
    """Shows the columns of tables that have no panel of their own, each value as it stands."""

    script = """lesstextReport.panel(NAME, {
      detail: (value, { element }) => element("dl", "columns", ...value.flatMap(
        ([name, text]) => [element("dt", "", name), element("dd", "", text)])),
    });"""

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = tuple(columns)  # type: ignore[misc]

    def sample(self, row: Mapping[str, Any]) -> Any:
        return [[name, as_text(row[name])] for name in self.columns if row.get(name) is not None]


class TextAreaPanel(Panel):
    """Shows what a second detector measured."""

    columns = ("text_area_ratio", "n_regions", "regions")
    text_seen = "text_area_ratio > 0"
    script = """lesstextReport.panel(NAME, {
      card: (value, { element, ratio }) => element("span", "", `${NAME}: ${ratio(value.ratio)}`),
      detail: (value, { element, ratio, regions }) => {
        regions(value.regions);
        return element("p", "", `ratio ${ratio(value.ratio)}, regions: ${value.n}`);
      },
      sawText: (value) => value.ratio > 0,
      orders: [{ title: "highest ratio", rank: (value) => -value.ratio }],
    });"""

    def sample(self, row: Mapping[str, Any]) -> Any:
        if row.get("text_area_ratio") is None:
            return None
        regions = drawable(row.get("regions")) or []
        return {"ratio": row["text_area_ratio"], "n": row.get("n_regions") or 0, "regions": regions}


class WordsPanel(Panel):
    """Shows the words that were read in an image, and lets them be searched."""

    columns = ("words",)
    text_seen = "len(words) > 0"
    script = """lesstextReport.panel(NAME, {
      words: (value) => value.texts.join(" "),
      card: (value, { element }) => element("span", "words", `“${value.texts.join(" ")}”`),
      detail: (value, { element, regions }) => {
        regions(value.regions);
        return element("p", "words", value.texts.join(" · "));
      },
      sawText: (value) => value.n > 0,
      orders: [{ title: "most words", rank: (value) => -value.n }],
    });"""

    def sample(self, row: Mapping[str, Any]) -> Any:
        words = row.get("words")
        if not words:
            return None
        shown = [word if isinstance(word, Mapping) else {"text": word} for word in words]
        texts = [str(word.get("text") or "")[:MAX_TEXT_CHARS] for word in shown[:_MAX_ITEMS]]
        regions = drawable([word["region"] for word in shown if word.get("region")])
        return {"texts": texts, "n": len(words), "regions": regions}


def find_panel(name: str, columns: Sequence[str]) -> Panel:
    """The panel of an annotator's tables, built in or installed; else one that shows `columns`.

    Raises UsageError when an installed one cannot be imported or is no panel.
    """
    if name not in plugin_names(ENTRY_POINT_GROUP):
        return ColumnsPanel([c for c in columns if c not in ("key", "uid", "status", "error")])
    kind = load_plugin(ENTRY_POINT_GROUP, "panel", name, UsageError)
    if not (isinstance(kind, type) and issubclass(kind, Panel)):
        raise UsageError(f"panel {name!r} is {kind!r}, not a subclass of Panel")
    return kind()


def as_text(value: Any) -> str:
    """A value of any column as a short text.

    >>> as_text([0.123456789, None, "a"])
    '0.123457, –, a'
    """
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        more = [f"… {len(value)} in all"] if len(value) > _MAX_ITEMS else []
        return ", ".join([*(as_text(one) for one in value[:_MAX_ITEMS]), *more])[:MAX_TEXT_CHARS]
    if isinstance(value, Mapping):
        return "; ".join(f"{name} {as_text(one)}" for name, one in value.items())[:MAX_TEXT_CHARS]
    return str(value)[:MAX_TEXT_CHARS]


MAX_DRAWN_REGIONS = 100


def drawable(regions: Sequence[Sequence[float]] | None) -> list[list[int]] | None:
    """The largest regions, in whole pixels; None where the table holds none at all.

    >>> drawable([[0.2, 0.0, 9.7, 0.0, 9.7, 4.0]])
    [[0, 0, 10, 0, 10, 4]]
    """
    if regions is None:
        return None
    sound = [region for region in regions if _is_polygon(region)]
    largest = sorted(sound, key=_extent, reverse=True)[:MAX_DRAWN_REGIONS]
    return [[round(value) for value in region] for region in largest]


def _is_polygon(region: Any) -> bool:
    """Whether it is a flat list of at least three corners, as tables of strangers may not hold."""
    if not isinstance(region, (list, tuple)) or len(region) < 6:
        return False
    return all(isinstance(value, (int, float)) and math.isfinite(value) for value in region)


def _extent(region: Sequence[float]) -> float:
    """Area of the region's bounding box, in square pixels."""
    xs, ys = region[::2], region[1::2]
    return (max(xs) - min(xs)) * (max(ys) - min(ys))
