"""Rules in the words of the text-area annotator."""

from __future__ import annotations

import pytest

from lesstext.errors import UsageError
from lesstext.policies import text_area


def test_rules_become_expressions_and_columns() -> None:
    strict = text_area.at_most(0.00001, keep_failed=True)
    assert strict.where == "text_area_ratio <= 1e-05::FLOAT"
    assert strict.as_json() == {
        "where": "text_area_ratio <= 1e-05::FLOAT", "seed": 0, "keep_failed": True
    }  # fmt: skip
    assert text_area.lowest(0.5, seed=3).as_json() == {
        "keep_fraction": 0.5, "by": "text_area_ratio", "highest": False, "seed": 3,
        "keep_failed": False,
    }  # fmt: skip


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan"), float("inf")])
def test_values_out_of_range_are_refused(value: float) -> None:
    with pytest.raises(UsageError, match="--max-text-area must be within 0 to 1"):
        text_area.at_most(value)
    with pytest.raises(UsageError, match="--keep-fraction must be within 0 to 1"):
        text_area.lowest(value)
