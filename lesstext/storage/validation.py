"""What is read back from JSON or TOML: of the declared types, or one line that says why not."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from lesstext.dataclass_options import paths
from lesstext.errors import LesstextError, UsageError

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic_core import ErrorDetails

Settings = TypeVar("Settings")
_TOLD = 3
_LONG = 80


def json_object(path: _Readable) -> dict[str, Any]:
    """The JSON object in a small file that is only a hint; empty for anything else that lies there.

    What decides about a result is read by `read_back`, which says what is wrong.
    """
    try:
        fields = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def read_back(kind: type[Settings], path: _Readable, raises: type[LesstextError]) -> Settings:
    """A dataclass from a JSON file of ours; raises an error that names the file and the field."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise raises(f"{path} cannot be read: {error}") from error
    return validated(kind, text, f"{path} is damaged", raises, word="field")


def validated(
    kind: type[Settings],
    text: str | bytes,
    where: str,
    raises: type[LesstextError],
    *,
    word: str = "setting",
) -> Settings:
    """A dataclass from JSON, of exactly the declared types; an int may stand for a float.

    Raises an error of one line that names `where`, the setting (or what `word` calls it) and what
    is wrong with it.
    """
    from pydantic import ValidationError

    anything: Any = kind
    try:
        found: Settings = _adapter(anything).validate_json(text, strict=True)
    except ValidationError as error:
        wrong = error.errors(include_url=False)
        told = "; ".join(_told(kind, one, word) for one in wrong[:_TOLD])
        more = f"; and {len(wrong) - _TOLD} more" if len(wrong) > _TOLD else ""
        raise raises(f"{where}: {told}{more}") from error
    except UsageError as error:
        raise raises(f"{where}: {error}") from error
    return found


class _Readable(Protocol):
    def read_bytes(self) -> bytes: ...


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _told(kind: type, error: ErrorDetails, word: str) -> str:
    name = ".".join(str(part) for part in error["loc"])
    if error["type"] == "unexpected_keyword_argument":
        return f"unknown {word} {name}{_suggestion(kind, str(error['loc'][-1]))}"
    if error["type"] == "missing":
        return f"the {word} {name} is missing"
    message = error["msg"][0].lower() + error["msg"][1:]
    return f"{name}: {message}{_given(error['input'])}" if name else message


def _suggestion(kind: type, name: str) -> str:
    """A setting of a similar name; a flag's name leads to the setting that it gives."""
    known = paths(kind)
    known |= {path.rpartition(".")[2]: path for path in known.values()}
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {known[close[0]]}?" if close else ""


def _given(value: Any) -> str:
    if isinstance(value, (Mapping, list, bytes)):
        return ""
    text = repr(value)
    return f", got {text if len(text) <= _LONG else text[:_LONG] + '…'}"
