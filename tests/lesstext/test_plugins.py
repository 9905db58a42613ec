"""Names of entry points lead to what they stand for, or to one line that says why not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lesstext.errors import AnnotatorError, UsageError
from lesstext.plugins import load_plugin, plugin_names

GROUP = "lesstext.tests"
POINTS = """[lesstext.tests]
here = plugin_here:Thing
nowhere = plugin_nowhere:Thing
emptied = plugin_here:Gone
own = plugin_here:Thing
"""


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with entry points, of which two lead nowhere."""
    (tmp_path / "plugin_here.py").write_text("Thing = 'installed'\n")
    (tmp_path / "thing-1.dist-info").mkdir()
    (tmp_path / "thing-1.dist-info/METADATA").write_text("Name: thing\nVersion: 1\n")
    (tmp_path / "thing-1.dist-info/entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(tmp_path)


def test_what_is_installed_is_found_and_loaded() -> None:
    assert plugin_names(GROUP) == ["emptied", "here", "nowhere", "own"]
    assert load_plugin(GROUP, "thing", "here", AnnotatorError) == "installed"


def test_no_package_takes_a_built_in_name() -> None:
    built_in = {"own": "pathlib:Path"}
    assert load_plugin(GROUP, "thing", "own", AnnotatorError, built_in) is Path


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("typo", UsageError, "unknown thing 'typo'; known: emptied, here, nowhere, own"),
        ("nowhere", AnnotatorError, "thing 'nowhere' cannot be imported: No module named"),
        ("emptied", AnnotatorError, "thing 'emptied' cannot be imported: module 'plugin_here' has"),
    ],
)
def test_what_cannot_be_loaded_is_named(name: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        load_plugin(GROUP, "thing", name, AnnotatorError)
