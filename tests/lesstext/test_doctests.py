"""The examples in the docstrings of the lower rooms."""

from __future__ import annotations

import doctest

import pytest

from lesstext.shards import captions, tar_reading
from lesstext.storage import files


@pytest.mark.parametrize("module", [captions, files, tar_reading])
def test_examples(module: object) -> None:
    failed, attempted = doctest.testmod(module)  # type: ignore[arg-type]
    assert attempted > 0 and failed == 0
