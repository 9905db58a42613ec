"""What published attack sets write beside or into the names of their photos: object and word.

Each reader takes the files of a download and gives its photos, or None where the layout is another.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from attr_builder.errors import RowError, SourceError
from attr_builder.labelled_images.trees import ParquetTree, Tree

ATTACKED, CLEAN = "attacked", "clean"
SCAM_VARIANTS = ("NoSCAM", "SCAM", "SynthSCAM")
PARQUET_COLUMNS = {"image", "type", "object_label", "attack_word", "id"}

_FILE_NAME = re.compile(r"label=(?P<object>.+)_text=(?P<word>.+)", re.DOTALL)
_SCAM_STEM = re.compile(rf"(?:(?P<variant>{'|'.join(SCAM_VARIANTS)})_)?(?P<photo>.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Photo:
    """One image: its variant and file, the name that its twins share, the object that it shows,
    and the word that is, or on a clean twin would be, written on it ("" where there is none)."""

    variant: str
    file: str
    photo: str
    object: str
    word: str


@dataclass(frozen=True, slots=True)
class Layout:
    """The photos of a download, and what about it deserves a word."""

    photos: list[Photo]
    note: str = ""


def read_layout(tree: Tree) -> Layout | None:
    """Whichever layout a download has; None for files of another kind.

    Raises SourceError, naming the file, for what would be guessed at.
    """
    if isinstance(tree, ParquetTree):
        return _parquet(tree)
    layout = _archive(tree) or _annotations(tree) or _index(tree) or _file_names(tree)
    for photo in layout.photos if layout is not None else ():
        if not photo.file.isprintable():
            raise SourceError(f"{tree.path}: rename {photo.file!a}, whose name is no UTF-8 text")
    return layout


def _parquet(tree: ParquetTree) -> Layout:
    """SCAM as Hugging Face converts it: `image, type, object_label, attack_word, id`."""
    rows = zip(tree.names, tree.rows, strict=True)
    return Layout([_scam_photo(tree, name, row, str(row["id"])) for name, row in rows])


def _archive(tree: Tree) -> Layout | None:
    """SCAM as its archive on Hugging Face: images, and `metadata.csv` or `.jsonl` beside them."""
    tables = [n for n in tree.names if PurePosixPath(n).name in ("metadata.csv", "metadata.jsonl")]
    photos: list[Photo] = []
    for table in tables:
        for row in _rows(tree, table):
            if not {"file_name", "type", "object_label", "attack_word"} <= row.keys():
                return None
            name = str(PurePosixPath(table).parent / str(row["file_name"])).removeprefix("./")
            photos.append(_scam_photo(tree, name, row, PurePosixPath(name).stem))
    return _present(tree, photos, " and ".join(tables)) if photos else None


def _scam_photo(tree: Tree, name: str, row: Mapping[str, Any], image_id: str) -> Photo:
    variant = row["type"]
    if variant not in SCAM_VARIANTS:
        kinds = ", ".join(SCAM_VARIANTS)
        raise SourceError(f"{tree.path}, {name}: its type is {variant!r}, none of {kinds}")
    return Photo(variant, name, _photo_of(image_id), *_pair(tree, name, row))


def _index(tree: Tree) -> Layout | None:
    """SCAM's folders, with the project page's index or a `labels.csv`; both name a photo once."""
    images = [n for n in tree.images if PurePosixPath(n).parent.name in SCAM_VARIANTS]
    if not images:
        return None
    tables = [name for name in tree.names if _is_index(PurePosixPath(name).name)]
    for table in tables:
        rows = {
            _photo_of(PurePosixPath(str(r.get("image_id"))).stem): r for r in _rows(tree, table)
        }
        photos = []
        for name in images:
            photo = _photo_of(PurePosixPath(name).stem)
            if photo not in rows:
                raise SourceError(f"{tree.path}: {table} has no row for {name}")
            variant = PurePosixPath(name).parent.name
            photos.append(Photo(variant, name, photo, *_pair(tree, name, rows[photo])))
        return Layout(photos, _unused(len(rows), {p.photo for p in photos}, table))
    raise SourceError(
        f"{tree.path}: has SCAM's folders, but neither labels.csv nor the project page's "
        "data/vlm_similarity_index.json, which say what is on the photos"
    )


def _is_index(name: str) -> bool:
    return name == "labels.csv" or name.endswith("similarity_index.json")


def _photo_of(image_id: str) -> str:
    match = _SCAM_STEM.fullmatch(image_id)
    return match["photo"] if match else image_id


def _annotations(tree: Tree) -> Layout | None:
    """Disentangling: `annotations.json` maps file names to an object and a word, or to none."""
    for table in tree.names:
        if PurePosixPath(table).name in ("annotations.json", "annotation.json"):
            told = _json(tree, table)
            if isinstance(told, dict) and all(_is_annotation(value) for value in told.values()):
                return _annotated(tree, table, told)
    return None


def _is_annotation(value: object) -> bool:
    return isinstance(value, dict) and {"true object", "typographic attack label"} <= value.keys()


def _annotated(tree: Tree, table: str, told: dict[str, dict[str, Any]]) -> Layout:
    """An object's photos share a name where exactly one of them is clean: that is their twin."""
    images = {PurePosixPath(name).name: name for name in tree.images}
    if len(images) < len(tree.images):
        raise SourceError(f"{tree.path}: two images have one file name, by which {table} goes")
    photos = []
    for key, row in told.items():
        name = images.pop(PurePosixPath(key).name, key)
        word = row["typographic attack label"] or ""
        row = {"object": row["true object"], "word": word or "-"}
        subject, said = _pair(tree, f"{table}, {key}", row)
        variant = ATTACKED if word else CLEAN
        photos.append(Photo(variant, name, subject, subject, said if word else ""))
    if images:
        raise SourceError(f"{tree.path}: {table} has no row for {min(images.values())}")
    layout = _present(tree, photos, table)
    clean = [photo.object for photo in layout.photos if photo.variant == CLEAN]
    if len(set(clean)) == len(clean):
        return layout
    apart = [Photo(p.variant, p.file, p.file, p.object, p.word) for p in layout.photos]
    return Layout(apart, layout.note + "several clean photos of one object: none is a twin")


def _file_names(tree: Tree) -> Layout | None:
    """RTA-100 and PAINT: everything stands in the file's name."""
    photos, others = [], []
    for name in tree.images:
        match = _FILE_NAME.fullmatch(PurePosixPath(name).stem)
        if match is None:
            others.append(name)
            continue
        photos.append(Photo(ATTACKED, name, name, *_pair(tree, name, match.groupdict())))
    if photos and others:
        raise SourceError(
            f"{tree.path}: {len(photos)} images are named label=…_text=…, but {len(others)} are "
            f"not, the first {others[0]}: is it two sets?"
        )
    return Layout(photos) if photos else None


def _pair(tree: Tree, name: str, row: Mapping[str, Any]) -> tuple[str, str]:
    """Object and word of a row, in any of the columns that published sets have for them."""
    found = []
    for columns in (("object_label", "object"), ("attack_word", "written_word", "word")):
        value = next((row[column] for column in columns if column in row), None)
        if not isinstance(value, str) or not value.strip():
            raise SourceError(f"{tree.path}, {name}: has no {columns[0].replace('_', ' ')}")
        found.append(value)
    return found[0], found[1]


def _present(tree: Tree, photos: list[Photo], table: str) -> Layout:
    """The photos whose files are there; every image must have its row."""
    there = set(tree.images)
    kept = [photo for photo in photos if photo.file in there]
    without = sorted(there - {photo.file for photo in photos})
    if without:
        raise SourceError(f"{tree.path}: {table} has no row for {without[0]}")
    return Layout(kept, _unused(len(photos), {photo.file for photo in kept}, table))


def _unused(n_rows: int, used: set[str], table: str) -> str:
    n_missing = n_rows - len(used)
    return f"{n_missing} of {n_rows} rows of {table} have no image here; " if n_missing else ""


def _rows(tree: Tree, name: str) -> list[dict[str, Any]]:
    """The rows of a CSV, a JSON list or JSON lines."""
    text = _text(tree, name)
    try:
        if name.endswith(".csv"):
            return list(csv.DictReader(io.StringIO(text, newline="")))
        rows = (
            [json.loads(x) for x in text.splitlines()] if name.endswith("l") else json.loads(text)
        )
    except (ValueError, RecursionError, csv.Error) as error:
        raise SourceError(f"{tree.path}: {name} cannot be read: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise SourceError(f"{tree.path}: {name} is no list of rows")
    return rows


def _json(tree: Tree, name: str) -> Any:
    try:
        return json.loads(_text(tree, name))
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{tree.path}: {name} cannot be read: {error}") from error


def _text(tree: Tree, name: str) -> str:
    try:
        return tree.read(name).decode("utf-8-sig")
    except (RowError, UnicodeDecodeError) as error:
        raise SourceError(f"{tree.path}: {name} cannot be read: {error}") from error
