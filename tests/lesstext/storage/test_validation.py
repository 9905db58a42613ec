"""What is read back: of the declared types, or one line that names the file and the field."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

import pytest

from lesstext.dataclass_options import Flag
from lesstext.errors import TableError, UsageError
from lesstext.storage.validation import json_object, read_back, validated


@dataclass(frozen=True, kw_only=True)
class Inner:
    __pydantic_config__: ClassVar = {"extra": "forbid"}

    batch_size: int = 8
    attempts: Annotated[int, Flag(names=("retry",))] = 1


@dataclass(frozen=True, kw_only=True)
class Told:
    __pydantic_config__: ClassVar = {"extra": "forbid"}

    name: str
    ratio: float = 0.5
    inner: Inner = field(default_factory=Inner)
    counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.ratio > 1:
            raise UsageError(f"ratio must be at most 1, got {self.ratio}")


def test_declared_types_are_taken_and_an_int_is_a_float() -> None:
    found = validated(
        Told, '{"name": "x", "ratio": 1, "inner": {"batch_size": 3}}', "f", UsageError
    )
    assert found == Told(name="x", ratio=1.0, inner=Inner(batch_size=3))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{}", "f: the setting name is missing"),
        ('{"name": 3}', "f: name: input should be a valid string, got 3"),
        ('{"name": "x", "ratio": true}', "f: ratio: input should be a valid number, got True"),
        ('{"name": "x", "ratio": 1.5}', "f: ratio must be at most 1, got 1.5"),
        ('{"name": "x", "rato": 1}', "f: unknown setting rato; did you mean ratio?"),
        ('{"name": "x", "batch_sise": 1}', "f: unknown setting batch_sise; did you mean inner."),
        ('{"name": "x", "atempts": 1}', "f: unknown setting atempts; did you mean inner.attempts?"),
        ('{"name": "x", "retri": 1}', "f: unknown setting retri; did you mean inner.attempts?"),
        ('{"name": "x", "zzzzz": 1}', "f: unknown setting zzzzz"),
        ('{"name": "x", "inner": {"batch": "x"}}', "f: unknown setting inner.batch"),
        ('{"name": "x", "counts": {"a": "1"}}', "f: counts.a: input should be a valid integer,"),
        ('{"name": []}', "f: name: input should be a valid string"),
        ('{"name": ', "f: invalid JSON"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(text: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        validated(Told, text, "f", UsageError)
    assert str(caught.value).startswith(told)
    assert "\n" not in str(caught.value)


def test_an_unknown_name_without_a_likeness_gets_no_suggestion() -> None:
    with pytest.raises(UsageError) as caught:
        validated(Told, '{"name": "x", "zzzzz": 1}', "f", UsageError)
    assert str(caught.value) == "f: unknown setting zzzzz"


def test_no_more_than_three_faults_and_no_long_value_are_told() -> None:
    many = '{"name": "x", "counts": {"a": "1", "b": "1", "c": "1", "d": "1", "e": "1"}}'
    with pytest.raises(UsageError, match=r"; and 2 more$") as caught:
        validated(Told, many, "f", UsageError)
    assert str(caught.value).count("counts.") == 3
    three = '{"name": "x", "counts": {"a": "1", "b": "1", "c": "1"}}'
    with pytest.raises(UsageError, match=r"counts\.c: [^;]*$"):
        validated(Told, three, "f", UsageError)
    for length, shown in ((78, "'" + "x" * 78 + "'"), (300, "'" + "x" * 79 + "…")):
        long = '{"name": "n", "ratio": "' + "x" * length + '"}'
        with pytest.raises(UsageError) as caught:
            validated(Told, long, "f", UsageError)
        assert str(caught.value).endswith(f", got {shown}")


def test_a_file_is_named_with_its_field(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"t\.json cannot be read: "):
        read_back(Told, tmp_path / "t.json", TableError)
    (tmp_path / "t.json").write_text("{}")
    with pytest.raises(TableError, match=r"t\.json is damaged: the field name is missing"):
        read_back(Told, tmp_path / "t.json", TableError)
    (tmp_path / "t.json").write_text('{"name": "x"}')
    assert read_back(Told, tmp_path / "t.json", TableError) == Told(name="x")


@pytest.mark.parametrize("text", ["", "{", "[]", "3", "[" * 100_000, "\udcff"])
def test_a_hint_that_is_no_object_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "hint.json"
    assert json_object(path) == {}
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert json_object(path) == {}
    path.write_text('{"a": 1}')
    assert json_object(path) == {"a": 1}
