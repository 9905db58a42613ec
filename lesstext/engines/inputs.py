"""The tables of other annotators that a shard's annotation reads, held against the shard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lesstext.annotators.base import Annotator
from lesstext.errors import TableError, UsageError
from lesstext.shards.fingerprint import Fingerprint
from lesstext.shards.samples import Row
from lesstext.shards.tar_reading import SampleEntry
from lesstext.storage.paths import Location
from lesstext.storage.scratch import scratch_folder
from lesstext.tables.table import (
    TABLE_SUFFIX,
    Footer,
    read_footer,
    reading,
    table_digest,
    table_path,
)


@dataclass(frozen=True, slots=True)
class InputTable:
    """One shard's table in an input folder."""

    path: Location
    footer: Footer
    digest: str

    def rows(self, entries: Sequence[SampleEntry]) -> list[Row]:
        """The table's rows, one for each of the shard's samples.

        Raises TableError when they cannot be read, or are not of these samples.
        """
        import pyarrow.parquet as pq

        with reading(self.path):
            if isinstance(self.path, Path):
                rows: list[Row] = pq.read_table(self.path).to_pylist()
            else:
                with scratch_folder() as folder:
                    self.path.download(folder / self.path.name)
                    rows = pq.read_table(folder / self.path.name).to_pylist()
            keys = [row["key"] for row in rows]
        if keys != [entry.key for entry in entries]:
            raise TableError(f"{self.path} does not hold the samples of shard {self.footer.shard}")
        return rows


def check_inputs(annotator: Annotator, inputs: Mapping[str, Location]) -> None:
    """Raise UsageError when a table folder is lacking that the annotator needs, or is not known."""
    known = (*annotator.inputs, *annotator.optional_inputs)
    for name in inputs:
        if name not in known:
            wanted = f"it reads: {', '.join(known)}" if known else "it reads no other tables"
            raise UsageError(f"{annotator.name} has no input {name!r}; {wanted}")
    for name in annotator.inputs:
        if name not in inputs:
            raise UsageError(
                f"{annotator.name} needs --input {name}=FOLDER; "
                f"make it by: lesstext annotate {name} SHARDS --out FOLDER"
            )


def find_inputs(
    folders: Mapping[str, Location], shard: str, fingerprint: Fingerprint
) -> dict[str, InputTable]:
    """The shard's table in each input folder; raises TableError where it is missing or stale."""
    return {
        name: _find(name, folder, shard, fingerprint) for name, folder in sorted(folders.items())
    }


def describe_inputs(inputs: Mapping[str, InputTable]) -> dict[str, dict[str, str]]:
    """What a footer says of them."""
    return {
        name: {"annotator": table.footer.annotator, "digest": table.digest}
        for name, table in inputs.items()
    }


def input_ids(folders: Mapping[str, Location]) -> dict[str, str]:
    """The id of the annotator of each input folder, as one of its tables tells it."""
    return {name: footer.annotator for name, footer in first_footers(folders).items()}


def first_footers(folders: Mapping[str, Location]) -> dict[str, Footer]:
    """What the first table of each input folder says of itself."""
    found: dict[str, Footer] = {}
    for name, folder in sorted(folders.items()):
        tables: list[Location] = sorted(folder.rglob(f"*{TABLE_SUFFIX}"), key=str)
        for table in tables[:1]:  # where there is none, each shard fails by name
            found[name] = read_footer(table)
    return found


def _find(name: str, folder: Location, shard: str, fingerprint: Fingerprint) -> InputTable:
    path = table_path(folder, shard)
    footer = read_footer(path)
    if footer.name != name:
        raise TableError(f"{path} is a table of {footer.name}, not of {name}")
    if footer.fingerprint != fingerprint:
        raise TableError(
            f"{path} was made from another version of shard {shard}; "
            f"make it again by: lesstext annotate {name} SHARDS --out {folder}"
        )
    return InputTable(path, footer, table_digest(path))
