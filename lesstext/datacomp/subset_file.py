"""DataComp's subset files: sorted uids in numpy's format, read and written block by block.

Beside `NAME.npy` lies its record, `NAME.rule.json`: what the list holds, and the rule behind it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from lesstext.datacomp.multisets import UID, Uids
from lesstext.errors import UsageError
from lesstext.storage.files import atomic_path, plain, write_text
from lesstext.storage.guard import refuse_overlap
from lesstext.storage.validation import read_back

BLOCK = 1 << 19
"""Uids read at a time: 8 MiB."""
_BYTES = 1 << 22


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a subset file holds: its SHA-256, how many uids, how many different ones, by which
    rule."""

    sha256: str
    uids: int
    distinct: int
    rule: dict[str, Any]


@dataclass(frozen=True, slots=True)
class SubsetFile:
    """A subset file whose `n` uids were found to be sorted; they begin at byte `offset`."""

    path: Path
    n: int
    offset: int

    def read(self, start: int, stop: int) -> Uids:
        """The uids of these places, as an array of its own."""
        return np.fromfile(self.path, UID, stop - start, offset=self.offset + start * UID.itemsize)

    def every(self, step: int) -> Uids:
        """Every `step`-th uid, the first one left out."""
        return np.array(self._mapped()[step::step])

    def places(self, uids: Uids) -> NDArray[np.intp]:
        """How many of the file's uids are less than each of these."""
        return np.searchsorted(self._mapped(), uids)

    def _mapped(self) -> Uids:
        if self.n == 0:
            return np.empty(0, UID)
        return np.memmap(self.path, UID, "r", self.offset, (self.n,))


def open_subset(path: Path) -> SubsetFile:
    """Look at a subset file whole; raises UsageError for anything else, damaged or not sorted."""
    try:
        if not path.is_file():
            raise ValueError("no such file" if not path.exists() else "it is no regular file")
        with path.open("rb") as file:
            shape, dtype = _header(file)
            offset = file.tell()
        if dtype != UID or len(shape) != 1:
            raise ValueError(f"it holds {dtype} of shape {shape}, not u8,u8 of shape (n,)")
        n_bytes = path.stat().st_size - offset
        if n_bytes != shape[0] * UID.itemsize:
            raise ValueError(f"its header speaks of {shape[0]} uids, but {n_bytes} bytes follow")
        found = SubsetFile(path, shape[0], offset)
        _refuse_unsorted(found)
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(f"{path} is no subset file of DataComp: {reason}") from error
    return found


def write_subset(out: Path, blocks: Iterable[Uids], rule: dict[str, Any]) -> Record:
    """Write sorted blocks, each after the one before, as `out`, and the record beside it.

    Raises UsageError where either is not ours to replace.
    """
    n = distinct = 0
    last: Uids | None = None
    with atomic_path(record_path(out), "subset record") as partial_record:
        with atomic_path(out, "subset") as partial:
            with partial.open("wb") as file:
                _write_header(file, 0)
                for block in blocks:
                    block.tofile(file)
                    n, distinct = n + len(block), distinct + _n_new(block, last)
                    last = block[-1:] if len(block) else last
                file.seek(0)  # a header has room for any number
                _write_header(file, n)
            record = Record(sha256=sha256_of(partial), uids=n, distinct=distinct, rule=rule)
        partial_record.write_text(as_text(asdict(record)), encoding="utf-8")
    return record


def read_record(path: Path, sha256: str) -> Record | None:
    """The record beside a subset file of that SHA-256, or None where there is none.

    Raises UsageError for one that is damaged or speaks of another list.
    """
    beside = record_path(path)
    if not beside.exists():
        return None
    record = read_back(Record, beside, UsageError)
    if record.sha256 != sha256:
        raise UsageError(f"{beside} speaks of another list than {path}: remove it, or make it anew")
    return record


def record_path(path: Path) -> Path:
    """Where the record of a subset file lies."""
    return path.with_name(f"{path.stem}.rule.json")


def distinct_uids(subset: SubsetFile) -> int:
    """How many different uids a file holds."""
    blocks = (block for _, block in _read(subset))
    return sum(_n_new(block[1:], block[:1]) for block in blocks) + (subset.n > 0)


def refuse_outputs(out: Path, inputs: Iterable[Path]) -> None:
    """Raise UsageError where `out` or its record would be, hold or lie inside an input."""
    if out.suffix != ".npy":
        raise UsageError(f"--out {out}: a subset file is called NAME.npy")
    for target in (out, record_path(out)):
        refuse_overlap(target, inputs)


def write_json(target: Path, value: dict[str, Any]) -> None:
    """Write a JSON file of the folder that it lies in."""
    write_text(target, as_text(value))


def as_text(value: dict[str, Any]) -> str:
    """An object as strict JSON."""
    return json.dumps(plain(value), indent=2) + "\n"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _header(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = npy.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"its format is numpy's {version[0]}.{version[1]}")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def _write_header(file: BinaryIO, n: int) -> None:
    fields = {"descr": npy.dtype_to_descr(UID), "fortran_order": False, "shape": (n,)}
    npy.write_array_header_1_0(file, fields)


def _refuse_unsorted(subset: SubsetFile) -> None:
    for start, block in _read(subset):
        upper, lower = block["f0"], block["f1"]
        falls = upper[1:] < upper[:-1]
        falls |= (upper[1:] == upper[:-1]) & (lower[1:] < lower[:-1])
        if falls.any():
            place = start + int(falls.argmax()) + 1
            raise ValueError(f"its uids are not sorted: number {place} is less than the one before")


def _read(subset: SubsetFile) -> Iterator[tuple[int, Uids]]:
    """Blocks and their places, each with the last uid of the one before at its head."""
    for start in range(0, subset.n, BLOCK):
        yield max(start - 1, 0), subset.read(max(start - 1, 0), min(start + BLOCK, subset.n))


def _n_new(block: Uids, last: Uids | None) -> int:
    """How many of a sorted block's uids differ from the one before; `last` stands before it."""
    if last is not None:
        block = np.concatenate([last, block])
    if not len(block):
        return 0
    upper, lower = block["f0"], block["f1"]
    steps = int(((upper[1:] != upper[:-1]) | (lower[1:] != lower[:-1])).sum())
    return steps + (last is None)
