"""Expressions: what they may say, what their columns are called, and what they may not do."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lesstext.errors import UsageError
from lesstext.tables.columns import Columns
from lesstext.tables.predicate import parse_predicate
from lesstext.tables.rule import Rule
from lesstext.tables.selecting import select
from tests.lesstext.tables.table_builders import made_table

COLUMNS = Columns({"text_area": ["key", "width", "height"], "words": ["key", "width", "words"]}, [])


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one table of two samples."""
    folder = tmp_path_factory.mktemp("tables")
    samples = [{"key": "a", "width": 40, "text_area_ratio": 0.0}, {"key": "b", "width": 50}]
    made_table(folder, "x", samples, name="text_area")
    return folder


@pytest.mark.parametrize(
    ("expression", "sql"),
    [
        ("height > 1", '("text_area.height" > 1)'),
        ("HEIGHT > 1", '("text_area.height" > 1)'),
        ('Text_Area . "width" > 1', '("text_area.width" > 1)'),
        ("words.width > text_area.width", '("words.width" > "text_area.width")'),
        ("words = 1 or words.words = 2", '(("words.words" = 1) OR ("words.words" = 2))'),
        ("key = words.key -- a comment", '("key" = "words.key")'),
        ("status = 'ok' and not (row_number in (1, 2))", None),
    ],
)
def test_columns_are_reached_plainly_or_by_annotator(expression: str, sql: str | None) -> None:
    found = parse_predicate(expression, COLUMNS)
    assert found.text == expression
    assert sql in (None, found.sql)


def test_an_unknown_column_is_answered_by_the_shortest_names_of_those_there_are() -> None:
    columns = Columns({"clip": ["key", "similarity"], "text_area": ["key", "text_area_ratio"]})
    with pytest.raises(UsageError) as caught:
        columns.resolve("no_such")
    _, _, listed = str(caught.value).partition("columns: ")
    assert {"similarity", "text_area_ratio"} <= set(listed.split(", "))
    assert not any("similarity" in name and "." in name for name in listed.split(", "))


def test_a_plain_name_that_two_tables_have_is_refused_naming_both() -> None:
    with pytest.raises(UsageError, match=r"'width' is ambiguous: say text_area.width or words.wid"):
        parse_predicate("width > 1", COLUMNS)
    with pytest.raises(UsageError, match=r"no column 'depth'; columns: error, height, key, .*word"):
        parse_predicate("depth > 1", COLUMNS)


@pytest.mark.parametrize(
    "expression",
    [
        "read_text('/etc/passwd') like '%root%'",
        "height in (select 1)",
        "exists(select * from read_csv('/etc/passwd'))",
        "getenv('HOME') = 'x'",
        "1); drop table x; --",
        "true) from read_text('/etc/passwd') --",
        "height > 1 order by 1",
        "row_number() over () > 2",
        "sum(height) > 3",
        "height > 1, height > 1",
        "height > 1), (height > 2",
        "true); select (true",
        "true) where (true",
        "true) limit (1",
        "true) group by (1",
        "true) from (select 1",
        "true) union (select false",
        "true) qualify (true",
        "true) having (true",
        "true) group by all having (true",
        "true) using sample (3",
        "no_such_column > 1",
        "meta.similarity > 1",
        "*",
        "height > $1",
        "key = 'a\0'",
        "key = '\ud800'",
        "(" * 300 + "height > 1" + ")" * 300,
        "not " * 900 + "true",
        "1 + " * 5000 + "1 > 2",
        "",
        "height >",
    ],
)
def test_expressions_that_are_more_than_comparisons_are_refused(expression: str) -> None:
    with pytest.raises(UsageError, match="--where"):
        parse_predicate(expression, COLUMNS)


@settings(deadline=None)
@given(st.text(max_size=30))
def test_any_text_is_either_admitted_or_refused_as_wrong_use(text: str) -> None:
    try:
        assert parse_predicate(text, COLUMNS).text == text
    except UsageError as error:
        assert "--where" in str(error)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("CAST(key AS INTEGER) > 3", "Could not convert string"),
        ("key::DATE > '2020-01-01'", "invalid date"),
        ("key > 3", "Cannot compare values"),
        ("text_area_ratio::TINYINT = 'x'", "Could not convert string"),
        ("(width * 10000000)::SMALLINT % 7 > 0", "out of range"),
        ("case when status = 'ok' then abs((-128)::TINYINT) end > 1", "Overflow"),
        ("regexp_matches(key, '(')", r"missing \)"),
        ("key like 'a!' escape '!!'", "escape"),
        ("width::NOSUCH > 1", "NOSUCH"),
        ("key::INET is null", "not in the catalog"),
        ("width", "is INTEGER, neither true nor false"),
        ("null", "neither true nor false"),
        ("width like 1 / 0", "No function matches"),
        ("key + 1 = 2", "No function matches"),
        ("substring(key) = ''", "No function matches"),
        ("key::BLOB = '\\xZZ'::BLOB", "hex escape"),
        ("key[1:2:0] = 'a'", "Slice with steps"),
    ],
)
def test_what_goes_wrong_while_it_is_evaluated_is_one_line(
    scored: Path, tmp_path: Path, expression: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        select([scored], tmp_path / "s.parquet", Rule(where=expression))
    assert str(caught.value).startswith("--where") and "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_errors_that_an_expression_avoids_are_none(scored: Path, tmp_path: Path) -> None:
    rule = Rule(where="try_cast(key as integer) is null and width <> 7 and 1 / (width - 40) > 0")
    assert select([scored], tmp_path / "s.parquet", rule).counts.read == 2
