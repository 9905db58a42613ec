"""What can be evaluated: built variants, published attack sets, and plain sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attr_builder.building.manifest import PARQUET_NAME, Row, read_manifest
from attr_builder.building.stored import CLASSES_NAME, load_painter
from attr_builder.drawing.presets import VARIANTS
from attr_builder.errors import SetError, SourceError
from attr_builder.evaluation.outcomes import NO_ATTACK, EvalSet
from attr_builder.labelled_images.attack_sets import (
    CLEAN_VARIANTS,
    NO_WORD,
    AttackPhotos,
    open_attack_set,
)
from attr_builder.labelled_images.classes import ClassList, load_class_list
from attr_builder.labelled_images.sources import Source, SourceItem, open_source
from attr_builder.labelled_images.subset import evenly


@dataclass(frozen=True)
class OpenedSet:
    """An EvalSet with the class list that its labels count in.

    `is_clean`: its photos carry no text, and are the twins of those that do.
    """

    images: EvalSet
    classes: ClassList
    is_full_paper: bool = False
    is_clean: bool = False

    def only(self, rows: Sequence[int]) -> OpenedSet:
        """The set with these rows alone."""
        if len(rows) == len(self.images.items):
            return self
        return OpenedSet(_rows(self.images, rows), self.classes, is_clean=self.is_clean)


def open_variants(out: Path, classes: ClassList | None = None) -> dict[str, OpenedSet]:
    """All variants of a built or of a published set, by name.

    `classes` are those of a published set (None: all that it names). Raises SetError where there
    is neither, SourceError for a damaged download.
    """
    found: dict[str, OpenedSet] = {v: open_variant(out / v) for v in VARIANTS if (out / v).is_dir()}
    if "attacked" in found:
        return found
    published = open_attack_set(out, classes)
    if not published:
        raise SetError(f"{out}: holds no built set (no folder `attacked`) and no published one")
    return {name: _from_photos(name, photos) for name, photos in published.items()}


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
    """Whatever `spec` is: a built variant, one variant of a published set, or a source.

    Of SCAM name the folder with the attacked photos (`scam/SCAM`) or the clean ones
    (`scam/NoSCAM`). Raises SourceError.
    """
    folder = Path(spec)
    variant = folder.parent if folder.name == "val" else folder
    if variant.name in VARIANTS and (variant.parent / PARQUET_NAME).exists():
        return open_variant(variant)
    published = open_attack_set(folder, classes) if labels is None and folder.exists() else {}
    if len(published) > 1:
        names = ", ".join(published)
        raise SourceError(f"{spec}: holds several variants ({names}): give it as --set")
    for name, photos in published.items():
        return _from_photos(name, photos)
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
    sets = {"clean": whole.only(chosen)}
    if attacked is not None:
        twin = open_any(attacked, classes or whole.classes, labels)
        if twin.classes != whole.classes:
            raise SourceError(f"{attacked} and {clean} have different classes")
        wanted = {whole.images.clusters[row] for row in chosen}
        rows = [row for row, photo in enumerate(twin.images.clusters) if photo in wanted]
        if not rows:
            raise SourceError(f"{attacked} shows none of the photos of {clean}")
        sets["attacked"] = twin.only(rows)
    return sets


def cut(sets: Mapping[str, OpenedSet], limit: int) -> dict[str, OpenedSet]:
    """At most `limit` evenly spaced photos, the same ones of all sets that show the first's.

    A set that shows none of the first's photos is cut by itself.
    """
    shown = {name: dict.fromkeys(opened.images.clusters) for name, opened in sets.items()}
    first = next(iter(shown.values()))
    twins = [photos for photos in shown.values() if not photos.keys().isdisjoint(first)]
    common = [photo for photo in first if all(photo in photos for photos in twins)] or list(first)
    chosen = set(evenly(common, limit))
    found = {}
    for name, opened in sets.items():
        wanted = chosen
        if chosen.isdisjoint(shown[name]):
            wanted = set(evenly(list(shown[name]), limit))
        rows = [row for row, photo in enumerate(opened.images.clusters) if photo in wanted]
        found[name] = opened.only(rows)
    return found


class _Some(Sequence[SourceItem]):
    """Some items of a source, read when asked for."""

    def __init__(self, items: Sequence[SourceItem], rows: Sequence[int]) -> None:
        self._items, self._rows = items, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        return self._items[self._rows[index]]


def _from_photos(variant: str, found: AttackPhotos) -> OpenedSet:
    images = EvalSet(
        items=found.source,
        attack_labels=[NO_ATTACK if word == NO_WORD else word for word in found.words],
        clusters=found.photos,
        note=found.note,
    )
    return OpenedSet(images, found.source.classes, is_clean=variant in CLEAN_VARIANTS)


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
        visible_in_crop=_picked(images.visible_in_crop, rows),
        contrast=_picked(images.contrast, rows),
        note=images.note,
    )


def _picked(values: Sequence[float] | None, rows: Sequence[int]) -> list[float] | None:
    return None if values is None else [values[row] for row in rows]


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
