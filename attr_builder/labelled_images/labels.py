"""Labels as data sets hold them: whole numbers, as numbers or as text."""

from __future__ import annotations

import re
from typing import Any

_DIGITS = re.compile(r"[0-9]{1,9}")


def as_label(value: Any) -> int | None:
    """The whole number that a cell or a text means; None for anything else.

    >>> as_label("207"), as_label(3.0), as_label("²"), as_label(float("nan")), as_label(True)
    (207, 3, None, None, None)
    """
    if isinstance(value, str):
        return int(value) if _DIGITS.fullmatch(value) else None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
