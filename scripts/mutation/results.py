"""What the trials found: kept line by line while they run, and put together at the end."""

from __future__ import annotations

import difflib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from math import sqrt
from pathlib import Path
from typing import Any

NO_FAULT = ("equivalent", "only performance", "only rounding")
"""How the reason for a survivor begins whose module does the same as without the fault."""
REASONS = Path(__file__).parent / "survivors.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """One mutant tried. `change` shows the changed line before and after; `key` is what was run:
    a digest of the mutated module, and one of the tests."""

    area: str
    module: str
    line: int
    operator: str
    change: str
    noticed_by: str | None
    key: str
    tests: str


def change_of(source: str, text: str) -> str:
    """The lines that a fault takes out and puts in."""
    lines = difflib.unified_diff(source.splitlines(), text.splitlines(), n=0, lineterm="")
    changed = [line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    return " ⇒ ".join(
        " ".join(line[1:].strip() for line in changed if line[0] == sign) for sign in "-+"
    )


def read_log(path: Path) -> dict[str, Outcome]:
    """Key of the mutated module → its latest outcome."""
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    return {found["key"]: Outcome(**found) for found in map(json.loads, lines)}


def append(path: Path, outcome: Outcome) -> None:
    with path.open("a", encoding="utf-8") as log:
        log.write(json.dumps(asdict(outcome)) + "\n")


def wilson(caught: int, tried: int, z: float = 1.96) -> tuple[float, float]:
    """The 95% score interval of a share.

    >>> [round(end, 3) for end in wilson(36, 40)]
    [0.769, 0.96]
    """
    centre, square = caught / tried + z * z / (2 * tried), z * z / tried
    half = z * sqrt(caught / tried * (1 - caught / tried) / tried + square / (4 * tried))
    return max(0.0, (centre - half) / (1 + square)), min(1.0, (centre + half) / (1 + square))


def summary(outcomes: Iterable[Outcome], counts: Mapping[str, int]) -> dict[str, Any]:
    """Per area and per module what was tried and caught, and the survivors with their reasons.

    `counts` gives each module's number of mutants.
    """
    by_area: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        by_area[outcome.area].append(outcome)
    reasons = read_reasons()
    return {area: _area(found, counts, reasons) for area, found in by_area.items()}


def _area(
    outcomes: list[Outcome], counts: Mapping[str, int], reasons: Mapping[tuple[str, str], str]
) -> dict[str, Any]:
    modules: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        modules[outcome.module].append(outcome)
    return {
        **_share(outcomes, reasons),
        "modules": {
            module: {
                "mutants": counts.get(module, 0),
                **_share(found, reasons),
                "survivors": [_survivor(one, reasons) for one in found if not one.noticed_by],
            }
            for module, found in sorted(modules.items())
        },
    }


def _share(outcomes: list[Outcome], reasons: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    """The share caught of all that were tried, and of those that are faults."""
    tried, caught = len(outcomes), sum(bool(outcome.noticed_by) for outcome in outcomes)
    none = sum(
        reasons.get((one.module, one.change), "").startswith(NO_FAULT)
        for one in outcomes
        if not one.noticed_by
    )
    low, high = wilson(caught, tried)
    return {
        "tried": tried,
        "caught": caught,
        "share": round(caught / tried, 3),
        "interval_95": [round(low, 3), round(high, 3)],
        "no_fault": none,
        "share_of_faults": round(caught / (tried - none), 3) if tried > none else None,
    }


def _survivor(outcome: Outcome, reasons: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    reason = reasons.get((outcome.module, outcome.change), "not looked into")
    return {
        "line": outcome.line,
        "operator": outcome.operator,
        "change": outcome.change,
        "reason": reason,
    }


def read_reasons() -> dict[tuple[str, str], str]:
    """(module, change) → why no test notices."""
    if not REASONS.exists():
        return {}
    told = json.loads(REASONS.read_text(encoding="utf-8"))
    return {(one["module"], one["change"]): one["reason"] for one in told}
