"""The examples in the docstrings."""

from __future__ import annotations

import doctest

import pytest

from attr_builder.evaluation import retrieval
from train_clip import evaluate, schedule, statistics
from train_clip.comparison import side_by_side


@pytest.mark.parametrize("module", [evaluate, retrieval, schedule, side_by_side, statistics])
def test_examples(module: object) -> None:
    failed, attempted = doctest.testmod(module)  # type: ignore[arg-type]
    assert attempted > 0
    assert failed == 0
