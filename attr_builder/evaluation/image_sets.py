"""What can be evaluated: built variants, plain sources, RTA-100-style folders, SCAM-style pairs."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from attr_builder.building.manifest import PARQUET_NAME, Row, read_manifest
from attr_builder.building.stored import CLASSES_NAME, load_painter
from attr_builder.drawing.presets import VARIANTS
from attr_builder.errors import SetError, SourceError
from attr_builder.evaluation.outcomes import NO_ATTACK, EvalSet
from attr_builder.labelled_images.classes import ClassList, load_class_list
from attr_builder.labelled_images.sources import (
    SUFFIXES,
    FileSource,
    Source,
    SourceItem,
    open_source,
)

T = TypeVar("T")

_RTA_NAME = re.compile(r"label=(?P<label>.+)_text=(?P<text>.+)")
_SCAM_COLUMNS = {"image_id", "object", "written_word"}


@dataclass(frozen=True)
class OpenedSet:
    """An EvalSet with the class list that its labels count in."""

    images: EvalSet
    classes: ClassList
    is_full_paper: bool = False


def open_variants(out: Path) -> dict[str, OpenedSet]:
    """All variants of a built set, by name; raises SetError where there is none."""
    found: dict[str, OpenedSet] = {v: open_variant(out / v) for v in VARIANTS if (out / v).is_dir()}
    if "attacked" not in found:
        raise SetError(f"{out}: holds no built set (no folder `attacked`)")
    return found


def open_variant(folder: Path) -> OpenedSet:
    """One variant's folder (`OUT/attacked`), with its attacks from the manifest beside it."""
    out, variant = folder.parent, folder.name
    classes = load_class_list(out / CLASSES_NAME)
    rows = [r for r in read_manifest(out) if r.variant == variant and r.status == "ok"]
    by_name = {str(row.output_name): row for row in rows}
    source = open_source(folder, classes=classes)
    unknown = [key for key in source.keys if key not in by_name]
    if unknown or len(source) != len(rows):
        raise SetError(
            f"{folder}: holds {len(source)} images, its manifest lists {len(rows)}"
            + (f"; {unknown[0]!r} is not in it" if unknown else "")
        )
    ordered = [by_name[key] for key in source.keys]
    recipe = load_painter(out).recipe
    full = recipe.is_paper and len(rows) == 50_000 and len(classes) == 1000
    return OpenedSet(_from_rows(source, ordered), classes, full and variant == "attacked")


def open_any(spec: str, classes: ClassList | None, labels: Path | None) -> OpenedSet:
    """Whatever `spec` is: a built variant, RTA-100-style files, SCAM-style pairs, or a source.

    SCAM pairs: name the folder with the attacked photos (`scam/SCAM`) or the clean ones
    (`scam/NoSCAM`); `labels.csv` lies beside it. Raises SourceError.
    """
    folder = Path(spec)
    if folder.is_dir():
        variant = folder.parent if folder.name == "val" else folder
        if variant.name in VARIANTS and (variant.parent / PARQUET_NAME).exists():
            return open_variant(variant)
        if (folder.parent / "labels.csv").is_file() and _is_scam(folder.parent / "labels.csv"):
            return open_scam(folder, folder.parent / "labels.csv")
        files = [p for p in folder.iterdir() if _RTA_NAME.fullmatch(p.stem)]
        if files:
            return open_rta(folder, files)
    source = open_source(spec, classes=classes, labels=labels)
    return OpenedSet(EvalSet.plain(source, source.keys), source.classes)


def open_twins(
    clean: str,
    attacked: str | None,
    classes: ClassList | None,
    labels: Path | None,
    limit: int | None,
) -> dict[str, OpenedSet]:
    """The set `clean` and its twin `attacked`, cut to `limit` evenly spaced photos.

    Raises SourceError where they have different classes or not one photo in common.
    """
    whole = open_any(clean, classes, labels)
    chosen = evenly(range(len(whole.images.items)), limit)
    sets = {"clean": OpenedSet(_rows(whole.images, chosen), whole.classes)}
    if attacked is not None:
        twin = open_any(attacked, classes or whole.classes, labels)
        if twin.classes != whole.classes:
            raise SourceError(f"{attacked} and {clean} have different classes")
        wanted = {whole.images.clusters[row] for row in chosen}
        rows = [row for row, photo in enumerate(twin.images.clusters) if photo in wanted]
        if not rows:
            raise SourceError(f"{attacked} shows none of the photos of {clean}")
        sets["attacked"] = OpenedSet(_rows(twin.images, rows), twin.classes)
    return sets


def evenly(items: Sequence[T], limit: int | None) -> list[T]:
    """At most `limit` items, spread evenly over the whole sequence.

    >>> evenly("abcdef", 3), evenly(range(3), 7)
    (['a', 'c', 'e'], [0, 1, 2])
    """
    if limit is None or limit >= len(items):
        return list(items)
    return [items[len(items) * i // limit] for i in range(limit)]


class _Some(Sequence[SourceItem]):
    """Some items of a source, read when asked for."""

    def __init__(self, items: Sequence[SourceItem], rows: Sequence[int]) -> None:
        self._items, self._rows = items, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        return self._items[self._rows[index]]


def open_rta(folder: Path, files: Sequence[Path]) -> OpenedSet:
    """Photos named `label=X_text=Y.jpg`: an X on which Y is written. Classes are all X and Y."""
    pairs = {}
    for file in files:
        match = _RTA_NAME.fullmatch(file.stem)
        if match is not None and file.suffix[1:].lower() in SUFFIXES:
            pairs[file.name] = (match["label"], match["text"])
    return _from_pairs("rta", folder, pairs)


def open_scam(folder: Path, table: Path) -> OpenedSet:
    """Photos with rows `image_id,object,written_word`; both folders of a pair share the rows.

    On the clean folder the attack word is that of the attacked twin, as on a built control.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = {row["image_id"]: row for row in csv.DictReader(file)}
    except (csv.Error, KeyError, UnicodeDecodeError) as error:
        raise SourceError(f"{table} cannot be read: {error!r}") from error
    for key, row in rows.items():
        for column in ("object", "written_word"):
            if not row.get(column):
                raise SourceError(f"{table}, image {key}: has no {column}")
    images = {p.stem: p.name for p in folder.iterdir() if p.suffix[1:].lower() in SUFFIXES}
    missing = sorted(set(images) - set(rows)) or sorted(set(rows) - set(images))
    if missing:
        raise SourceError(f"{folder} and {table} do not name the same images: {missing[0]}")
    pairs = {images[key]: (rows[key]["object"], rows[key]["written_word"]) for key in rows}
    return _from_pairs("scam", folder, pairs)


def _is_scam(table: Path) -> bool:
    with table.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        try:
            return set(next(csv.reader(file), [])) >= _SCAM_COLUMNS
        except csv.Error:
            return False


def _from_pairs(kind: str, folder: Path, pairs: dict[str, tuple[str, str]]) -> OpenedSet:
    """Files with (true name, attack word); every name and word is a class."""
    names = sorted({name for pair in pairs.values() for name in pair})
    classes = ClassList(tuple(names), tuple(names))
    number = {name: label for label, name in enumerate(names)}
    files = [(Path(file).stem, number[pair[0]], file) for file, pair in pairs.items()]
    source = FileSource(kind, folder, classes, files)
    attacks = [number[pairs[path][1]] for path in source.paths]
    note = f"{len(names)} classes: every object and every written word"
    images = EvalSet(items=source, attack_labels=attacks, clusters=source.keys, note=note)
    return OpenedSet(images, classes)


def _from_rows(source: Source, rows: Sequence[Row]) -> EvalSet:
    has_text = any(row.box for row in rows)
    return EvalSet(
        items=source,
        attack_labels=[row.attack_label if row.attack_label >= 0 else NO_ATTACK for row in rows],
        clusters=[row.key for row in rows],
        visible_in_crop=[_number(row.visible_in_crop) for row in rows] if has_text else None,
        contrast=[_number(row.contrast) for row in rows] if has_text else None,
    )


def _rows(images: EvalSet, rows: Sequence[int]) -> EvalSet:
    return EvalSet(
        items=_Some(images.items, rows),
        attack_labels=[images.attack_labels[row] for row in rows],
        clusters=[images.clusters[row] for row in rows],
        note=images.note,
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
