"""Whether tables of several annotators speak of the same shards, and which must be made again."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from lesstext.errors import TableError, UsageError
from lesstext.storage.paths import in_parallel
from lesstext.tables.table import table_digest

if TYPE_CHECKING:
    from lesstext.tables.folder import TableFile, TableFolder


def check_names(folders: Sequence[TableFolder], reserved: Collection[str]) -> None:
    """Raise UsageError when two folders go by one name, or one by a name that is taken."""
    seen: dict[str, TableFolder] = {}
    for folder in folders:
        name = folder.name.lower()
        if name in reserved:
            raise UsageError(
                f"tables cannot be named {folder.name!r}; give NAME={folder.source.folder}"
            )
        if name in seen:
            raise UsageError(
                f"{seen[name].source.folder} and {folder.source.folder} both hold tables of "
                f"{folder.name}; give one of them another name: NAME={folder.source.folder}"
            )
        seen[name] = folder


def check_together(folders: Sequence[TableFolder]) -> None:
    """Raise TableError, naming annotator, shard and the command that mends it, unless every
    folder has a table of every shard, all of one shard made from the same file."""
    _check_none_missing(folders)
    for other in folders[1:]:
        for mine, theirs in zip(folders[0].files, other.files, strict=True):
            _check_pair(folders[0], mine, other, theirs, folders)
    for folder in folders:
        for name in sorted({name for footer in folder.footers for name in footer.inputs}):
            _check_input(folder, name, folders)


def _check_pair(
    first: TableFolder,
    mine: TableFile,
    second: TableFolder,
    theirs: TableFile,
    folders: Sequence[TableFolder],
) -> None:
    """Two tables of one shard must be of one file, and of the same number of samples."""
    shard = mine.footer.shard
    if mine.footer.fingerprint != theirs.footer.fingerprint:
        raise TableError(
            f"the tables of {first.name} and {second.name} for shard {shard} were made from "
            f"different files: one is stale; make it again by: {_command(first, folders)} or "
            f"{_command(second, folders)}"
        )
    if mine.n_rows != theirs.n_rows:
        raise TableError(
            f"{first.origin(shard)} holds {mine.n_rows} rows, but {second.origin(shard)} holds "
            f"{theirs.n_rows}; annotate the shard again"
        )


def _check_none_missing(folders: Sequence[TableFolder]) -> None:
    present = [{footer.shard for footer in folder.footers} for folder in folders]
    everything = set[str]().union(*present)
    for folder, shards in zip(folders, present, strict=True):
        lacking = sorted(everything - shards)
        if lacking:
            more = f" nor of {len(lacking) - 1} more shards" if len(lacking) > 1 else ""
            raise TableError(
                f"{folder.name} ({folder.source.folder}) has no table of shard {lacking[0]}{more}; "
                f"make what is missing by: {_command(folder, folders)}"
            )


def _check_input(folder: TableFolder, name: str, folders: Sequence[TableFolder]) -> None:
    """The tables of `name` that a folder's were made from must be those that are given, if any."""
    given = [other for other in folders if other.annotator_name == name]
    if not given:
        return
    digests = [in_parallel(table_digest, [other.origin(s.shard) for s in other.footers])
               for other in given]  # fmt: skip
    for place, footer in enumerate(folder.footers):
        made_from = footer.inputs.get(name, {}).get("digest")
        if made_from not in [column[place] for column in digests]:
            raise TableError(
                f"{folder.name}'s table of shard {footer.shard} was made from another table of "
                f"{name} than the one in {given[0].source.folder}: it is stale; make it again by: "
                f"{_command(folder, folders)}"
            )


def _command(folder: TableFolder, folders: Sequence[TableFolder]) -> str:
    """The command that makes a folder's tables, as far as it can be known from here."""
    given = {other.annotator_name: other.source.folder for other in folders}
    inputs = "".join(
        f" --input {name}={given.get(name, 'FOLDER')}" for name in folder.files[0].footer.inputs
    )
    made = f"lesstext annotate {folder.annotator_name} SHARDS{inputs}"
    return f"`{made} --out {folder.source.folder}`"
