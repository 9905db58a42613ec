"""Settings from JSON or TOML: every value of its declared type, every name known."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from lesstext.dataclass_options import paths
from lesstext.errors import LesstextError, UsageError
from train_clip.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic_core import ErrorDetails

Settings = TypeVar("Settings")
_TOLD = 3


def validated(
    kind: type[Settings], text: str, where: str, raises: type[LesstextError] = ConfigError
) -> Settings:
    """A dataclass from JSON, of exactly the declared types; an int may stand for a float.

    Raises ConfigError, or another error: one line that names `where`, the setting and what is
    wrong with it.
    """
    from pydantic import ValidationError

    anything: Any = kind
    try:
        found: Settings = _adapter(anything).validate_json(text)
    except ValidationError as error:
        wrong = error.errors(include_url=False)
        told = "; ".join(_told(kind, one) for one in wrong[:_TOLD])
        more = f"; and {len(wrong) - _TOLD} more" if len(wrong) > _TOLD else ""
        raise raises(f"{where}: {told}{more}") from error
    except UsageError as error:
        raise raises(f"{where}: {error}") from error
    return found


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _told(kind: type, error: ErrorDetails) -> str:
    name = ".".join(str(part) for part in error["loc"])
    if error["type"] == "unexpected_keyword_argument":
        return f"unknown setting {name}{_suggestion(kind, str(error['loc'][-1]))}"
    if error["type"] == "missing":
        return f"the setting {name} is missing"
    message = error["msg"][0].lower() + error["msg"][1:]
    return f"{name}: {message}{_given(error['input'])}" if name else message


def _suggestion(kind: type, name: str) -> str:
    """A setting of a similar name; a flag's name leads to the setting that it gives."""
    known = paths(kind)
    known |= {path.rpartition(".")[2]: path for path in known.values()}
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {known[close[0]]}?" if close else ""


def _given(value: Any) -> str:
    return "" if isinstance(value, (Mapping, list)) else f", got {value!r}"
