"""The examples in the docstrings."""

from __future__ import annotations

import doctest

import pytest

from attr_builder.evaluation import retrieval, statistics
from attr_builder.evaluation.image_retrieval import folders, probe, ranking
from attr_builder.labelled_images import subset


@pytest.mark.parametrize("module", [folders, probe, ranking, retrieval, statistics, subset])
def test_examples(module: object) -> None:
    failed, attempted = doctest.testmod(module)  # type: ignore[arg-type]
    assert attempted > 0
    assert failed == 0
