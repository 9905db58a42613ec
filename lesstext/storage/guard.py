"""What may be written where: new files, and files that we wrote ourselves; never anything else.

A folder that we fill holds a marker, `.lesstext.json`, which says what kind of artefact it is. A
single file carries its marker inside where its format has room (parquet, HTML), else in a small
`.NAME.lesstext.json` beside it, which recognises the file as we wrote it. Whatever exists and
carries no marker of the same kind is somebody else's. Commands say what they read, by
`refuse_overlap`, before they write; every writer goes through `lesstext.storage.files`, which asks
`refuse_foreign` here.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lesstext.errors import UsageError
from lesstext.storage.owners import name_tag
from lesstext.storage.remote.fetching import resolve
from lesstext.storage.scratch import scratch_folder
from lesstext.storage.validation import json_object

if TYPE_CHECKING:
    from lesstext.storage.paths import Location

MARKER = ".lesstext.json"
_CONTAINERS = ("filter", "comparison", "run")
"""Kinds of folders that hold artefacts of other kinds, each below a name of its own."""
_URL = re.compile(r"^[a-z][a-z0-9+.-]*://")
_HTML_MARKER = '<meta name="lesstext" content="{kind}">'
_PARQUET_KEYS = {
    "selection": b"lesstext_selection",
    "table": b"lesstext",
    "knowledge base": b"lesstext_knowledge_base",
    "vocabulary": b"lesstext_vocabulary",
}
_HEAD_BYTES = 4096
_EDGE_BYTES = 64 * 1024
_writing = threading.Lock()
_nearest: dict[Location, Location] = {}
"""The marked folder that this process found for a folder; a marker stays while it is used."""


def html_marker(kind: str) -> str:
    """The line in a page's head that makes it ours to replace."""
    return _HTML_MARKER.format(kind=kind)


def claim_folder(folder: Location, kind: str) -> None:
    """Make `folder` an artefact of that kind, or find that it is one.

    Raises UsageError where it is another kind's, lies inside another artefact, or holds files that
    are not ours.
    """
    above = marked_folder(_parent(folder) if isinstance(folder, Path) else folder.parent)
    if above is not None and _kind_of(above) not in _CONTAINERS:
        raise UsageError(f"{folder} lies inside {above}, which holds {_kind_of(above)}")
    held = _kind_of(folder)
    if held is None and _holds_files(folder):
        held = _kind_of(folder)  # another process may have made it ours meanwhile
        if held is None:
            raise UsageError(
                f"{folder} is not empty and holds nothing of ours: choose another --out"
            )
    if held not in (None, kind):
        raise UsageError(f"{folder} holds {held}, not {kind}: choose another --out")
    if held is None:
        _write_marker(folder / MARKER, {"kind": kind})


def refuse_overlap(out: Location, inputs: Iterable[Location | str]) -> None:
    """Raise UsageError when `out` is, contains or lies inside one of the inputs.

    Links are followed on both sides; a URL counts in the one spelling of its file system.
    """
    targets = _spellings(out)
    for given in inputs:
        for place in _spellings(given):
            for target in targets:
                _refuse_one(out, target, given, place)


def refuse_foreign(target: Location, kind: str | None = None) -> None:
    """Raise UsageError unless `target` may be created or replaced.

    Without a `kind` it is a table, or a file of the folder that it lies in, which must be ours
    where the file exists; with one it is an artefact by itself, which never lies inside a folder of
    another kind.
    """
    folder = marked_folder(target.parent)
    if kind is None:
        if folder is None and target.exists() and not _carries_marker(target, "table"):
            raise UsageError(f"{target} exists and is not ours to replace: choose another name")
        return
    if folder is not None and _kind_of(folder) not in (*_CONTAINERS, kind):
        raise UsageError(f"{target} lies inside {folder}, which holds {_kind_of(folder)}")
    if isinstance(target, Path) and target.is_dir():
        raise UsageError(f"{target} is a folder")
    if target.exists() and not _carries_marker(target, kind):
        raise UsageError(f"{target} exists and is no {kind} of ours: choose another name")


def mark_file(target: Location, kind: str) -> None:
    """Leave a marker beside a file whose format has no room for one."""
    if target.name.rpartition(".")[2] not in ("parquet", "html"):
        _write_marker(_beside(target), {"kind": kind, "digest": _digest(target)})


def marked_folder(folder: Location) -> Location | None:
    """The nearest folder at or above this one that holds our marker."""
    start = place = Path(os.path.abspath(folder)) if isinstance(folder, Path) else folder
    while True:
        found = _nearest.get(place) or (place if _kind_of(place) is not None else None)
        if found is not None:
            _nearest[start] = found
            return found
        above = place.parent
        if above == place or not (isinstance(above, Path) or "://" in above.url):
            return None
        place = above


def _parent(folder: Path) -> Path:
    return Path(os.path.abspath(folder)).parent


def _kind_of(folder: Location) -> str | None:
    kind = json_object(folder / MARKER).get("kind")
    return kind if isinstance(kind, str) and kind.isprintable() else None


def _write_marker(path: Location, fields: dict[str, Any]) -> None:
    text = json.dumps(fields, sort_keys=True) + "\n"
    if not isinstance(path, Path):
        with scratch_folder() as scratch:
            (scratch / MARKER).write_text(text, encoding="utf-8")
            path.upload(scratch / MARKER)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{name_tag()}.partial")
    with _writing:  # threads of one process would write into one temporary file
        try:
            partial.write_text(text, encoding="utf-8")
            os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def _holds_files(folder: Location) -> bool:
    """Whether anything lies there, hidden files aside."""
    if not isinstance(folder, Path):
        return any(not path.name.startswith(".") for path in folder.rglob("*"))
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise UsageError(f"{folder} is a file, not a folder")
    return any(not path.name.startswith(".") for path in folder.iterdir())


def _carries_marker(file: Location, kind: str) -> bool:
    suffix = file.name.rpartition(".")[2]
    if suffix == "parquet" and kind in _PARQUET_KEYS:
        return _PARQUET_KEYS[kind] in _parquet_metadata(file)
    if suffix == "html":
        head = file.read_bytes()[:_HEAD_BYTES]
        return html_marker(kind).encode() in head
    marker = json_object(_beside(file))
    return marker == {"kind": kind, "digest": _digest(file)}


def _parquet_metadata(file: Location) -> dict[bytes, bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    source = file if isinstance(file, Path) else pa.BufferReader(file.read_bytes())
    try:
        return dict(pq.read_metadata(source).metadata or {})
    except (OSError, pa.ArrowException):
        return {}


def _beside(file: Location) -> Location:
    return file.with_name(f".{file.name}{MARKER}")


def _digest(file: Location) -> str:
    """Recognises the file as it was written: its size, and BLAKE2 of its edges."""
    if not isinstance(file, Path):
        size, head = int(file.info()["size"]), file.read_bytes(stop=_EDGE_BYTES)
        tail = file.read_bytes(start=-min(size, _EDGE_BYTES)) if size else b""
    else:
        size = file.stat().st_size
        with file.open("rb") as opened:
            head = opened.read(_EDGE_BYTES)
            opened.seek(-min(size, _EDGE_BYTES), os.SEEK_END)
            tail = opened.read()
    return f"{size}-{hashlib.blake2b(head + tail, digest_size=16).hexdigest()}"


def _spellings(place: Location | str) -> set[str]:
    """A path as it was given and with its links followed, or the one spelling of a URL."""
    text = str(place)
    if _URL.match(text):
        filesystem, path = resolve(text)
        return {str(filesystem.unstrip_protocol(path)).rstrip("/")}
    path_given = Path(text).expanduser()
    return {os.path.abspath(path_given), os.path.realpath(path_given)}


def _refuse_one(out: Location, target: str, given: Location | str, place: str) -> None:
    if target == place:
        raise UsageError(f"the output {out} is an input: choose another --out")
    if f"{target}/".startswith(f"{place.rstrip('/')}/"):
        raise UsageError(
            f"the output {out} lies inside the input folder {given}; "
            "nothing is ever written into an input folder: choose another --out"
        )
    if f"{place}/".startswith(f"{target.rstrip('/')}/"):
        raise UsageError(f"the input {given} lies inside the output {out}: choose another --out")
