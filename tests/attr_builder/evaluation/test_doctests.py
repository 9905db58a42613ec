"""The examples in the docstrings."""

from __future__ import annotations

import doctest

import pytest

from attr_builder.evaluation import image_sets, retrieval, statistics


@pytest.mark.parametrize("module", [image_sets, retrieval, statistics])
def test_examples(module: object) -> None:
    failed, attempted = doctest.testmod(module)  # type: ignore[arg-type]
    assert attempted > 0
    assert failed == 0
