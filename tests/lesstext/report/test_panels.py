"""Which panel shows an annotator's tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from lesstext.errors import UsageError
from lesstext.report.panels import ColumnsPanel, WordsPanel, find_panel
from tests.lesstext.conftest import install_plugin


def test_an_own_panel_or_one_of_the_columns() -> None:
    assert isinstance(find_panel("words", ["key", "words"]), WordsPanel)
    plain = find_panel("sharpness", ["key", "uid", "status", "error", "sharpness"])
    assert isinstance(plain, ColumnsPanel)
    assert plain.columns == ("sharpness",)


@pytest.mark.parametrize(
    ("leads_to", "message"),
    [
        ("tests.lesstext.gone:Panel", "panel 'mine' cannot be imported: No module named"),
        ("tests.lesstext.builders:gone", "panel 'mine' cannot be imported: module .* has no"),
        ("tests.lesstext.builders:write_tar", "panel 'mine' is <function.*not a subclass of Panel"),
    ],
)
def test_one_that_is_no_panel_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, leads_to: str, message: str
) -> None:
    install_plugin(tmp_path, monkeypatch, "mine", leads_to, group="lesstext.report_panels")
    with pytest.raises(UsageError, match=message):
        find_panel("mine", ["key"])
