"""Published sets of photos with words written on them, read as they are downloaded.

SCAM, NoSCAM and SynthSCAM (Hugging Face's archive, unpacked or not, or its parquet; the project
page's folders; folders beside a `labels.csv`), RTA-100, PAINT and Disentangling. Classes go by
name: case, underscores and spaces make no difference.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from attr_builder.errors import SourceError
from attr_builder.labelled_images.attack_layouts import (
    CLEAN,
    PARQUET_COLUMNS,
    SCAM_VARIANTS,
    Layout,
    Photo,
    read_layout,
)
from attr_builder.labelled_images.classes import ClassList
from attr_builder.labelled_images.sources import Source
from attr_builder.labelled_images.trees import ParquetTree, Tree, open_tree, parquet_files

CLEAN_VARIANTS = ("NoSCAM", CLEAN)
NO_WORD = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackPhotos:
    """One variant of a set. `words` and `photos` run parallel to `source`: the class of the word
    (NO_WORD where there is none), and the name that twins share."""

    source: Source
    words: list[int]
    photos: list[str]
    note: str


def open_attack_set(path: Path, classes: ClassList | None = None) -> dict[str, AttackPhotos]:
    """The variants of the published set at `path`, the clean one first; {} where there is none.

    Every object and every word is a class, unless `classes` says which there are. SCAM's folders
    may be named one by one. Raises SourceError, naming the file, for what would be guessed at.
    """
    found = _find(path)
    if found is None:
        return {}
    tree, layout, only = found
    if not layout.photos:
        raise SourceError(f"{tree.path}: holds none of its images; {layout.note}")
    chosen = classes or _all_classes(layout.photos)
    variants = {photo.variant for photo in layout.photos}
    return {
        name: _opened(tree, layout, chosen, name)
        for name in sorted(variants, key=lambda name: (name not in CLEAN_VARIANTS, name))
        if only in (None, name)
    }


def spelled(name: str) -> str:
    """A name as prompts use it: composed characters, one space between words.

    >>> spelled(" hair_dryer ")
    'hair dryer'
    """
    return " ".join(unicodedata.normalize("NFC", name).replace("_", " ").split())


class _Photos(Source):
    """The photos of one variant, in the layout's order."""

    def __init__(self, tree: Tree, classes: ClassList, photos: list[Photo]) -> None:
        super().__init__("attack set", tree.path, classes)
        self._tree = tree
        labels = _labels(classes)
        stems = Counter(PurePosixPath(photo.file).stem for photo in photos)
        for photo in photos:
            stem = PurePosixPath(photo.file).stem
            self.keys.append(stem if stems[stem] == 1 else photo.file)
            self.labels.append(_label(labels, photo.object, tree, photo))
            self.paths.append(photo.file)
        self._check()

    def read(self, index: int) -> bytes:
        return self._tree.read(self.paths[index])


def _find(path: Path) -> tuple[Tree, Layout, str | None] | None:
    """The download that holds `path`, and which of its variants alone `path` names."""
    only = None
    if path.is_dir() and path.name in SCAM_VARIANTS:
        path, only = path.parent, path.name
    if path.is_dir() and path.name == "data_images":
        path = path.parent  # where the project page keeps its index
    parquet = parquet_files(path, PARQUET_COLUMNS)
    if parquet:
        columns = sorted(PARQUET_COLUMNS - {"image"})
        tree: Tree | None = ParquetTree(path, parquet, columns)
    else:
        tree = open_tree(path)
    layout = read_layout(tree) if tree is not None else None
    return None if tree is None or layout is None else (tree, layout, only)


def _opened(tree: Tree, layout: Layout, classes: ClassList, variant: str) -> AttackPhotos:
    photos = [photo for photo in layout.photos if photo.variant == variant]
    labels = _labels(classes)
    words = [_label(labels, p.word, tree, p) if p.word else NO_WORD for p in photos]
    return AttackPhotos(
        source=_Photos(tree, classes, photos),
        words=words,
        photos=[photo.photo for photo in photos],
        note=layout.note,
    )


def _all_classes(photos: Iterable[Photo]) -> ClassList:
    """Every object and word once, in its most frequent spelling."""
    counts = Counter(spelled(name) for photo in photos for name in (photo.object, photo.word))
    chosen: dict[str, str] = {}
    for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if name:
            chosen.setdefault(name.casefold(), name)
    names = tuple(sorted(chosen.values()))
    return ClassList(names, names)


def _labels(classes: ClassList) -> dict[str, int]:
    names = reversed(list(enumerate(classes.names)))
    return {spelled(name).casefold(): label for label, name in names}


def _label(labels: dict[str, int], name: str, tree: Tree, photo: Photo) -> int:
    label = labels.get(spelled(name).casefold())
    if label is None:
        raise SourceError(
            f"{tree.path}, {photo.file}: {spelled(name)!r} is not in the class list "
            f"({len(labels)} names); without --classes every object and word is a class"
        )
    return label
