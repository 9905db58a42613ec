"""The findings as Markdown: one table of figures, one of what was not measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def markdown(result: Mapping[str, Any]) -> str:
    """The page of one result, as `bench_gpu.py` writes it to JSON."""
    about = ", ".join(f"{name}: {value}" for name, value in result["about"].items())
    parts: Mapping[str, Mapping[str, Any]] = result["parts"]
    lines = [about, "", "| part | figure | |", "|---|---|---|"]
    for name, part in parts.items():
        lines += [f"| {name} | {figure} | {value} |" for figure, value in _rows(part["figures"])]
    others = {name: part for name, part in parts.items() if part["status"] != "ok"}
    if others:
        lines += ["", "| not (wholly) measured | | |", "|---|---|---|"]
        lines += [
            f"| {name} | {part['status']} | {_cell(part['reason'])} |"
            for name, part in others.items()
        ]
    return "\n".join(lines) + "\n"


def _rows(figures: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from _rows(value, f"{before}{name}: ")
        elif isinstance(value, list):
            for number, one in enumerate(value, 1):
                yield from _rows({f"{name} {number}": one}, before)
        else:
            yield _cell(f"{before}{name}"), _cell(_shown(value))


def _shown(value: Any) -> str:
    """Three digits of a figure.

    >>> _shown(0.12345), _shown(1234.5), _shown(True), _shown(None)
    ('0.123', '1,234', 'yes', 'not told here')
    """
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if value is None:
        return "not told here"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
