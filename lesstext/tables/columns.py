"""Names and values as rules write them, and as the SQL that answers them does."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Mapping
from pathlib import Path

from lesstext.errors import UsageError

BASE = ("key", "uid", "status", "error")
PLACE = ("shard", "row_number")
METADATA = "meta"
TAKEN = ("file_index", "file_row_number")  # what DuckDB says of where a row comes from
DUPLICATE = "duplicate_key"
_NUMBERS = frozenset(
    {"FLOAT", "DOUBLE", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"}
    | {"UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"}
)


class Columns:
    """The columns of tables by annotator name, and of joined metadata as `meta.column`.

    A column is reached plainly, or as `annotator.column` where two tables have one of that name.
    The base columns speak of the sample as a whole when they are reached plainly.
    """

    def __init__(
        self, tables: Mapping[str, Iterable[str]], metadata: Iterable[str] | None = None
    ) -> None:
        self._known = {name: name for name in (*PLACE, *BASE)}
        self._ambiguous: dict[str, list[str]] = {}
        qualified = {f"{table}.{name}": name for table, names in tables.items() for name in names}
        if metadata is not None:
            self._known.update((f"{METADATA}.{name}".lower(), f"{METADATA}.{name}")
                               for name in metadata)  # fmt: skip
        self._known.update((name.lower(), name) for name in qualified)
        for name, plain in qualified.items():
            self._ambiguous.setdefault(plain.lower(), []).append(name)
        for plain, names in self._ambiguous.items():
            if len(names) == 1:
                self._known.setdefault(plain, names[0])

    def resolve(self, name: str) -> str:
        """The view's column that a name means, upper and lower case being the same.

        Raises UsageError for an unknown name, and for a plain one that several tables have.
        """
        found = self._known.get(name.lower())
        if found is not None:
            return found
        several = self._ambiguous.get(name.lower())
        if several is not None:
            raise UsageError(f"column {name!r} is ambiguous: say {' or '.join(several)}")
        raise UsageError(f"no column {name!r}; columns: {', '.join(self._listed())}")

    def _listed(self) -> list[str]:
        """Every column once, by the shortest name that reaches it."""
        shortest: dict[str, str] = {}
        for name, meant in self._known.items():
            shortest[meant] = min(shortest.get(meant, meant), name, key=len)
        return sorted(shortest.values())


def quoted(name: str) -> str:
    """A column's name as SQL."""
    return '"' + name.replace('"', '""') + '"'


def is_number(kind: str) -> bool:
    """Whether a type, in DuckDB's words, is one of numbers."""
    return kind in _NUMBERS or kind.startswith("DECIMAL")


def literal(text: str) -> str:
    """A text as SQL."""
    return "'" + text.replace("'", "''") + "'"


def parquet_list(paths: Iterable[Path]) -> str:
    """A SQL list of paths, in which DuckDB shall see no patterns."""
    return f"[{', '.join(literal(glob.escape(str(path))) for path in paths)}]"


def first_line(error: object) -> str:
    """What DuckDB says, without the query that it points into."""
    return str(error).strip().partition("\n")[0]
