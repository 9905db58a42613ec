"""Target `where`: whatever is typed comes to a selection that adds up, or to an error."""

from __future__ import annotations

import random
from collections.abc import Callable

import pyarrow.parquet as pq

from lesstext.tables.rule import Rule
from lesstext.tables.selecting import select
from tests.fuzz.artefacts import put, sound
from tests.fuzz.case import Case, check


def _words(text: str) -> list[str]:
    return text.split()


_COLUMNS = _words(
    "text_area_ratio width height n_regions max_score key uid status shard row_number regions "
    "text_area.width Text_Area_Ratio no_such file_row_number meta.x error image_offset"
)
_NUMBERS = _words("0 1 0.3 -1 1e308 9223372036854775807 1e400 NULL .5 0x10 1_000 3::INT")
_TEXTS = ["'x'", "''", "'a%'", "'(['", "'\\'", "'ü'", "'2020-01-01'", "'1'", "'nan'", "''''"]
_SIMPLE = _words("text_area_ratio width height n_regions max_score image_offset length(key) 0 1 .3")
_TYPES = _words(
    "INTEGER DOUBLE VARCHAR DATE BOOLEAN BLOB JSON INTEGER[] STRUCT(a_INT) DECIMAL(4,1)"
)
_FUNCTIONS = _words(
    "abs ceil sqrt ln log2 round lower length substr concat contains regexp_matches coalesce "
    "nullif greatest len regexp_full_match like_escape read_csv glob getenv random nextval "
    "read_text current_setting error list_value repeat range unnest sum row_number hash"
)
_ODD = [
    "1; DROP TABLE s", "1) --", "/* x */ true", "(SELECT 1)", "* ", "COLUMNS(*)", "?", "$1",
    "x -> x", "CASE WHEN true THEN 1 END", "count(*) OVER ()", "'/etc/passwd'::BLOB", "[1,2][1]",
    "{'a': 1}.a", "s", "t0", "loaded", "'a' COLLATE NOCASE", "INTERVAL 1 DAY", "\0", "\ud800", "é",
    "(" * 150 + "1" + ")" * 150, "1" + "+1" * 300, "TRUE", "EXISTS (FROM s)", "width IN (1, 2)",
    "FROM range(9)", "1 UNION SELECT 2", "@ 1", "~ 1", "1 << 70", "!", "5!", "FILTER", "true\n--",
]  # fmt: skip


def fuzz_where(case: Case) -> str:
    """Select by a random expression over sound tables."""
    put(sound(), "scores/", case.inputs)
    (case.inputs / "secret.csv").write_text("a\n1\n")
    expression = _condition(case.rng, 3)
    if case.rng.random() < 0.15:
        at = case.rng.randrange(len(expression) + 1)
        expression = expression[:at] + case.rng.choice(_ODD) + expression[at:]
    case.seal()
    rule = Rule(where=expression, keep_failed=case.rng.random() < 0.3)
    counts = select(case.inputs / "scores", case.out / "keep.parquet", rule).counts
    n_rows = pq.read_metadata(case.out / "keep.parquet").num_rows
    said = f"{expression!r}: {counts}, {n_rows} rows"
    check(counts.read == 17 == counts.kept + counts.dropped + counts.failed, "accounting", said)
    check(counts.kept == n_rows, "accounting", said)
    return "selected"


def _condition(rng: random.Random, depth: int) -> str:
    a, b = _value(rng, depth - 1), _value(rng, depth - 1)
    made: list[Callable[[], str]] = [
        lambda: f"{a} {rng.choice(['<', '<=', '=', '<>', '>=', 'IS DISTINCT FROM'])} {b}",
        lambda: f"{a} {rng.choice(['LIKE', 'NOT LIKE', 'ILIKE', 'SIMILAR TO'])} {b}",
        lambda: f"{a} BETWEEN {b} AND {_value(rng, 0)}",
        lambda: f"{a} IS {rng.choice(['NULL', 'NOT NULL', 'TRUE'])}",
        lambda: f"{a} IN ({b}, {_value(rng, 0)})",
        lambda: a,
    ]
    text = rng.choice(made)()
    if depth > 0 and rng.random() < 0.4:
        other = _condition(rng, depth - 1)
        text = f"({text}) {rng.choice(['AND', 'OR', 'AND NOT'])} ({other})"
    return text


def _value(rng: random.Random, depth: int) -> str:
    if rng.random() < 0.5:
        return rng.choice(_SIMPLE)
    if depth <= 0 or rng.random() < 0.4:
        return rng.choice([*_COLUMNS, *_NUMBERS, *_TEXTS, *([*_ODD] if rng.random() < 0.2 else [])])
    a, b = _value(rng, depth - 1), _value(rng, depth - 1)
    made = [
        f"({a} {rng.choice(['+', '-', '*', '/', '//', '%', '**', '||'])} {b})",
        f"{rng.choice(_FUNCTIONS)}({a})",
        f"{rng.choice(_FUNCTIONS)}({a}, {b})",
        f"CAST({a} AS {rng.choice(_TYPES)})",
        f"CASE WHEN {a} THEN {b} ELSE {a} END",
        f"-{a}",
    ]
    return rng.choice(made)
