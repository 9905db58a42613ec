"""The examples in the docstrings."""

from __future__ import annotations

import doctest

import pytest

from train_clip import evaluate, retrieval, schedule, side_by_side, statistics


@pytest.mark.parametrize("module", [evaluate, retrieval, schedule, side_by_side, statistics])
def test_examples(module: object) -> None:
    failed, attempted = doctest.testmod(module)  # type: ignore[arg-type]
    assert attempted > 0
    assert failed == 0
