"""The examples in the docstrings."""

from __future__ import annotations

import doctest

import pytest

from train_clip import schedule
from train_clip.comparison import side_by_side


@pytest.mark.parametrize("module", [schedule, side_by_side])
def test_examples(module: object) -> None:
    failed, attempted = doctest.testmod(module)  # type: ignore[arg-type]
    assert attempted > 0
    assert failed == 0
