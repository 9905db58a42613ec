"""What matchers of mentions are worth, as figures and as tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from entities.mention_evidence import captions, matchers, measured, verdicts


def figures(data: Path) -> dict[str, Any]:
    """Precision and recall of every matcher by both readings, all captions and each source."""
    texts, judged = captions(data), verdicts()
    found = matchers(texts)
    differ = sum(verdict.first != verdict.second for verdict in judged.values())
    results: dict[str, Any] = {
        "captions": len(texts),
        "judged": len(judged),
        "readings differ": differ,
        "sources": {},
    }
    for source in ("", "cc12m", "flickr8k", "captions"):
        here = {m: verdict for m, verdict in judged.items() if m[0].startswith(source)}
        for name, some in found.items():
            mine = {m for m in some if m[0].startswith(source)}
            for reading in ("first", "second"):
                figures = measured(mine, here, reading)
                place = results["sources"].setdefault(source or "all", {}).setdefault(name, {})
                place[reading] = {key: _plain(value) for key, value in figures.items()}
    return results


def _plain(value: Any) -> Any:
    if isinstance(value, int):
        return value
    return [round(number, 3) for number in (value.value, value.low, value.high)]


def as_text(results: dict[str, Any]) -> str:
    """The table of all captions and of each source."""
    lines = [
        "# Mentions against captions that were read",
        "",
        f"{results['captions']} captions, {results['judged']} stretches judged twice, "
        f"{results['readings differ']} of them differently. First reading / second reading, with "
        "intervals of 95 % over captions.",
    ]
    for source in ("all", "cc12m", "flickr8k", "captions"):
        title = "wikipedia" if source == "captions" else source
        lines += ["", f"## {title}", "", "| matcher | mentions | precision | recall |"]
        lines += ["|---|---|---|---|"]
        for name, readings in results["sources"][source].items():
            first, second = readings["first"], readings["second"]
            cells = [f"{_shown(first[k])} / {_shown(second[k])}" for k in ("precision", "recall")]
            lines.append(f"| {name} | {first['mentions']} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines) + "\n"


def _shown(figure: list[float]) -> str:
    value, low, high = figure
    return f"{value:.2f} ({low:.2f}–{high:.2f})"
