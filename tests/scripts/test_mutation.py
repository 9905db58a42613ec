"""The mutation tester: its table names what exists, its faults are faults, its trials see them."""

from __future__ import annotations

from pathlib import Path

import pytest
from mutation.areas import AREAS, ROOT, Area
from mutation.exclusions import excluded_spans, is_excluded
from mutation.mutants import Mutant, mutants_of, mutated, sample
from mutation.results import Outcome, read_reasons, summary, wilson
from mutation.trial import Baseline, measure_baseline, try_tests


@pytest.mark.parametrize("name", AREAS)
def test_every_module_and_test_that_the_table_names_exists(name: str) -> None:
    area = AREAS[name]
    assert all(list(ROOT.glob(pattern)) for pattern in area.modules)
    assert all((ROOT / path).exists() for path in area.tests)
    assert all((ROOT / path).name.startswith("test_") for path in area.test_paths())
    assert area.module_paths() and len(area.test_paths()) >= len(area.tests)


def test_every_reason_is_of_a_line_that_still_stands() -> None:
    """A module that has changed since needs its survivors looked into anew."""
    for module, change in read_reasons():
        lines = (ROOT / module).read_text("utf-8").splitlines()
        whole = " ".join(line.strip() for line in lines)
        assert change.partition(" ⇒ ")[0] in whole, f"{module}: {change}"


@pytest.mark.parametrize(
    ("source", "operator", "expected"),
    [
        ("self.failures = 0\n", "DeleteStatement", "pass\n"),
        ("    count += 1\n", "DeleteStatement", None),
        ("if x:\n    raise E\n", "DeleteStatement", "if x:\n    pass\n"),
        ("if x:\n    close(x)\n", "DeleteStatement", "if x:\n    pass\n"),
        ("def f():\n    return 1\n", "ReturnNone", "def f():\n    return None\n"),
        ("f(a, b=c)\n", "DropKeyword", "f(a, **{})\n"),
        ("f(width, height)\n", "SwapTwin", "f(height, height)\n"),
        ("f(min(a))\n", "SwapTwin", "f(max(a))\n"),
        ("a < b\n", "ReplaceComparisonOperator_Lt_LtE", "a <= b\n"),
    ],
)
def test_faults(source: str, operator: str, expected: str | None) -> None:
    found = mutated(source, Mutant("m.py", operator, 0, 1, 0))
    assert found == expected


@pytest.mark.parametrize(
    "source",
    [
        "count: int\n",
        "total = 1\nelsewhere = 2\n",
        "a = f(width)\n",
        "def f(a, *, b):\n    pass\n",
    ],
)
def test_no_fault_of_ours_where_there_is_none_to_make(source: str) -> None:
    kinds = {"DeleteStatement", "ReturnNone", "DropKeyword", "SwapTwin"}
    assert not [one for one in mutants_of("m.py", source) if one.operator in kinds]


def test_words_types_and_logs_are_left_out() -> None:
    source = '''
from typing import TYPE_CHECKING, cast
if TYPE_CHECKING:
    x = 1 + 1
Alias = dict[str, int] | None
__all__ = ["a" + "b"]
def f(a: int | None = 7) -> int | None:
    """1 + 1"""
    log.warning("%s", a + 1)
    if a is None:
        raise ValueError(f"{a + 1}")
    return cast(int | str, a)
'''
    spans, lines = excluded_spans(source), source.splitlines()
    assert not is_excluded((7, lines[6].index("7")), spans)
    assert {one.line for one in mutants_of("m.py", source)} == {7, 10, 11, 12}
    assert {one.operator for one in mutants_of("m.py", source) if one.line == 11} == {
        "DeleteStatement"
    }


def test_a_sample_is_seeded_and_reaches_every_module() -> None:
    large = mutants_of("large.py", "\n".join(f"a{i} = {i} + b * c" for i in range(50)))
    small = mutants_of("small.py", "a = b < c\n")
    drawn = sample([*large, *small], 20, seed=1)
    assert drawn == sample([*large, *small], 20, seed=1) != sample([*large, *small], 20, seed=2)
    assert {one.module for one in drawn} == {"large.py", "small.py"}
    places = [(one.module, one.line, one.column, one.family) for one in drawn]
    assert len(set(places)) == len(places) == pytest.approx(20, abs=1)


def test_the_summary_counts_and_names_survivors() -> None:
    caught = Outcome(
        area="a", module="m.py", line=1, operator="ReturnNone", change="return 1 ⇒ return None",
        noticed_by="t.py::test", key="1", tests="",
    )  # fmt: skip
    survivor = Outcome(
        area="a", module="m.py", line=2, operator="SwapTwin", change="x ⇒ y",
        noticed_by=None, key="2", tests="",
    )  # fmt: skip
    found = summary([caught, survivor], {"m.py": 9})["a"]
    assert (found["tried"], found["caught"], found["share"]) == (2, 1, 0.5)
    assert (found["no_fault"], found["share_of_faults"]) == (0, 0.5)
    assert found["modules"]["m.py"]["mutants"] == 9
    (told,) = found["modules"]["m.py"]["survivors"]
    assert told["line"] == 2 and told["change"] == "x ⇒ y" and told["reason"]


def test_survivors_that_are_no_faults_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = {("m.py", "x ⇒ y"): "equivalent: both are 1"}
    monkeypatch.setattr("mutation.results.read_reasons", lambda: reasons)
    outcomes = [
        Outcome(area="a", module="m.py", line=2, operator="SwapTwin", change=change,
                noticed_by=test, key=change, tests="")
        for change, test in (("x ⇒ y", None), ("y ⇒ z", "t"), ("u ⇒ v", "t"), ("v ⇒ w", None))
    ]  # fmt: skip
    found = summary(outcomes, {})["a"]
    assert (found["share"], found["no_fault"], found["share_of_faults"]) == (0.5, 1, 0.667)


def test_the_interval_is_wilsons() -> None:
    # Newcombe (1998), table I: 81 of 263, and 1 of 29.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


@pytest.fixture
def tiny_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Area:
    """A module of two functions, with a test that runs one and one that runs the other."""
    (tmp_path / "counted.py").write_text(
        "def first(n):\n    return n + 1\n\ndef last(n):\n    while n < 9:\n        n += 1\n"
        "    return n\n"
    )
    (tmp_path / "test_counted.py").write_text(
        "import counted\n\ndef test_last():\n    assert counted.last(2) == 9\n\n"
        "def test_first():\n    assert counted.first(2) == 3\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    return Area(modules=("counted.py",), tests=("test_counted.py",))


def test_a_trial_says_which_test_noticed(tiny_project: Area) -> None:
    baseline = measure_baseline(["test_counted.py"], ["counted.py"])
    first, last = "test_counted.py::test_first", "test_counted.py::test_last"
    assert set(baseline.seconds) == {first, last} and not baseline.failed
    assert baseline.order("counted.py", 2, 60) == [first]
    assert set(baseline.order("counted.py", 1, 60)) == {first, last}
    assert baseline.order("counted.py", 1, 0) == []
    source = Path("counted.py").read_text()
    assert try_tests([first, last], baseline.seconds).noticed_by is None
    Path("counted.py").write_text(source.replace("n + 1", "n - 1"))
    assert try_tests([last, first], baseline.seconds).noticed_by == first
    assert try_tests([last], baseline.seconds).noticed_by is None
    Path("counted.py").write_text(source.replace("n + 1", "n +"))
    assert "collecting" in (try_tests([last], baseline.seconds).noticed_by or "")


def test_a_trial_without_end_is_ended(tiny_project: Area, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mutation.trial._GRACE_S", 2.0)
    source = Path("counted.py").read_text()
    Path("counted.py").write_text(source.replace("n += 1", "pass"))
    test = "test_counted.py::test_last"
    assert (try_tests([test], {test: 0.0}).noticed_by or "").startswith("timeout")


def test_tests_that_fail_without_a_fault_notice_nothing() -> None:
    baseline = Baseline({"a": 2.0, "b": 1.0, "c": 3.0}, frozenset({"c"}), {})
    assert baseline.order("m.py", 3, 60) == ["b", "a"]
    assert baseline.order("m.py", 3, 1.5) == ["b"]
