"""Flags made from a dataclass, and the dataclass made back from what was given."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
from typer.testing import CliRunner

from lesstext.dataclass_options import (
    Flag,
    build,
    check_choices,
    parameters,
    paths,
    repeated,
    with_options,
    with_parameters,
)
from lesstext.errors import UsageError


@dataclass(frozen=True, kw_only=True, slots=True)
class Crop:
    size_px: Annotated[int, Flag("Longer side.")] = 64
    ratio: Annotated[float, Flag("Share that is kept.", names=("keep",))] = 0.5
    span: Annotated[tuple[float, float], Flag("From and to.")] = (0.25, 0.75)


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    model: Annotated[str, Flag("Which one.")]
    limit: Annotated[int | None, Flag("Samples at most.")] = None
    mode: Annotated[Literal["fast", "exact"], Flag("How.")] = "fast"
    tidy: Annotated[bool, Flag("Clean up.")] = True
    folder: Annotated[Path | None, Flag("Where to.")] = None
    words: Annotated[tuple[str, ...], Flag("Words to find.", names=("word",))] = ()
    scales: Annotated[list[float], Flag("Scales.")] = field(default_factory=lambda: [1.0, 2.0])
    weights: Annotated[Mapping[str, float], Flag("Per kind.")] = field(default_factory=dict)
    extra: Mapping[str, bool | int | float | str] = field(default_factory=dict)
    betas: Annotated[tuple[float, float], Flag("Moments.", names=("beta1", "beta2"))] = (0.9, 0.98)
    crop: Annotated[Crop, Flag(prefix="crop_")] = field(default_factory=Crop)
    plain: int = 3

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--limit must be at least 1, got {self.limit}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    data: Annotated[str, Flag("Where it is.")]
    weight: float | None = None
    rule: str = "all"


def parse(*arguments: str, leave_out: tuple[str, ...] = (), **given: Any) -> Settings:
    """What a command with these flags, and one of its own, makes of `arguments`."""
    made: list[Settings] = []
    app = typer.Typer()

    @app.command()
    @with_options(Settings, leave_out=leave_out)
    def command(out: Annotated[str, typer.Option()] = "here", **values: Any) -> None:
        made.append(build(Settings, values, **given))

    done = CliRunner().invoke(app, list(arguments))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return made[0]


def test_defaults_are_the_fields() -> None:
    assert parse("--model", "m") == Settings(model="m")


def test_every_kind_of_flag() -> None:
    found = parse(
        "--model", "m", "--limit", "4", "--mode", "exact", "--no-tidy", "--folder", "a/b",
        "--word", "red", "--word", "blue", "--scales", "3", "--weights", "sign=2",
        "--weights", "logo=0.5", "--beta2", "0.95", "--crop-size-px", "8", "--crop-keep", "0.1",
        "--crop-span", "0", "1", "--plain", "5", "--out", "there",
        "--extra", "on=true", "--extra", "n=3", "--extra", "x=0.5", "--extra", "name=a=b",
    )  # fmt: skip
    assert found == Settings(
        model="m",
        limit=4,
        mode="exact",
        tidy=False,
        folder=Path("a/b"),
        words=("red", "blue"),
        scales=[3.0],
        weights={"sign": 2.0, "logo": 0.5},
        extra={"on": True, "n": 3, "x": 0.5, "name": "a=b"},
        betas=(0.9, 0.95),
        crop=Crop(size_px=8, ratio=0.1, span=(0.0, 1.0)),
        plain=5,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--limit", "0"), "--limit must be at least 1, got 0"),
        (("--mode", "best"), "--mode must be one of fast, exact, got 'best'"),
        (("--weights", "sign"), "--weights takes NAME=VALUE, got 'sign'"),
        (("--weights", "=1"), "--weights takes NAME=VALUE, got '=1'"),
        (("--weights", "a=1", "--weights", "a=2"), "--weights was given twice for a"),
        (("--weights", "a=x"), "--weights a=x: could not convert"),
    ],
)
def test_wrong_values_are_told(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse("--model", "m", *arguments)


def test_help_tells_names_choices_and_defaults() -> None:
    app = typer.Typer()

    @app.command()
    @with_options(Settings)
    def command(**values: Any) -> None: ...

    told = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "120"}).output
    for flag in ("--model", "--no-tidy", "--crop-keep", "fast|exact", "NAME=VALUE"):
        assert flag in told
    for text in ("[required]", "Clean up.", "Share that is kept.", "[default: 0.98]"):
        assert text in told


def test_fields_left_out_are_given_otherwise() -> None:
    names = [p.name for p in parameters(Settings, leave_out=("model", "crop"), prefix="x_")]
    assert names[0] == "x_limit"
    assert "x_crop_size_px" not in names
    assert parse(leave_out=("model",), model="given").model == "given"
    assert build(Crop, {"at_size_px": 3}, prefix="at_") == Crop(size_px=3)


def test_choices_are_checked_however_the_dataclass_was_made() -> None:
    check_choices(Settings(model="m", mode="exact"))
    with pytest.raises(UsageError, match="mode must be one of fast, exact, got 'best'"):
        check_choices(Settings(model="m", mode="best"))  # type: ignore[arg-type]


def test_flags_lead_to_fields() -> None:
    found = paths(Settings)
    assert found["crop_keep"] == "crop.ratio"
    assert found["beta1"] == found["beta2"] == "betas"


def test_several_of_each() -> None:
    told: dict[str, Any] = {}
    app = typer.Typer()

    @app.command()
    @with_parameters(repeated(parameters(Source)))
    def command(**values: Any) -> None:
        told.update(values)

    CliRunner().invoke(app, ["--data", "a", "--data", "b", "--weight", "3"])
    assert told == {"data": ["a", "b"], "weight": [3.0], "rule": None}
    assert CliRunner().invoke(app, ["--weight", "3"]).exit_code == 2


def test_importing_brings_no_command_line() -> None:
    code = "import sys, lesstext.dataclass_options; print('typer' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_command_is_decorated_as_often_as_it_is_asked_for() -> None:
    @dataclass(frozen=True)
    class Numbers:
        first: int = 1

    def command(**values: object) -> dict[str, object]:
        return values

    made = [with_options(Numbers)(command) for _ in range(2)]
    assert [list(inspect.signature(one).parameters) for one in made] == [["first"], ["first"]]
    assert made[1](first=2) == {"first": 2} and list(inspect.signature(command).parameters) == [
        "values"
    ]
