"""Folders of images in classes of any kind: GPR1200's, ImageFolders, and what `build` takes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from attr_builder.errors import SourceError
from attr_builder.evaluation.embeddings import Ints
from attr_builder.labelled_images.classes import ClassList, imagenet_classes
from attr_builder.labelled_images.sources import FileSource, Source, open_source, parse_classes
from attr_builder.labelled_images.trees import SUFFIXES

GPR1200 = "gpr1200:"
# The parts of GPR1200 in the order of its class numbers, 200 classes each.
DOMAINS = ("Landmarks", "iNaturalist", "ImageNet-Sketch", "INSTRE", "Stanford products", "Faces")
CLASSES_PER_DOMAIN = 200
# WordNet ids, and whatever holds no letter.
_NAMELESS = re.compile(r"n\d{8}|[\W\d_]*", re.ASCII)
_GPR_NAME = re.compile(r"(\d{1,4})_.+", re.ASCII)


@dataclass(frozen=True)
class RetrievalSet:
    """Labelled images with the domain of each class; `domains` is empty where there are none.

    `names` are what prompts call the classes, None where that is not known. `train` are other
    images of these classes, by name, which a measure may learn from.
    """

    images: Source
    domains: tuple[str, ...] = ()
    names: tuple[str, ...] | None = None
    train: Source | None = None


def open_retrieval_set(
    spec: str, classes: str | None = None, labels: Path | None = None
) -> RetrievalSet:
    """Open `gpr1200:FOLDER`, an ImageFolder with classes of any names, or a source of `build`.

    `classes` name GPR1200's by their numbers, 0000 to 1199. Raises SourceError where there is no
    set, or a file of GPR1200 has no class number, or `classes` not its name.
    """
    if spec.startswith(GPR1200):
        found = _open_gpr1200(Path(spec.removeprefix(GPR1200)).expanduser())
        return found if classes is None else replace(found, names=_listed(found, classes))
    folder = Path(spec).expanduser()
    if classes is None and folder.is_dir():
        files = [
            (f"{sub.name}/{name}", sub.name)
            for sub in sorted(folder.iterdir())
            if sub.is_dir() and not sub.name.startswith(".")
            for name in _images_in(sub)
        ]
        if files:
            source = _source("ImageFolder", folder, files)
            return RetrievalSet(source, names=names_of_folders(source.classes.names))
    source = open_source(spec, classes=parse_classes(classes), labels=labels)
    return RetrievalSet(source, names=source.classes.names)


def names_of_folders(folders: Sequence[str]) -> tuple[str, ...] | None:
    """The classes that folders are named after, ImageNet's or others; None where it says nothing.

    >>> names_of_folders(["n01440764", "n01443537"]), names_of_folders(["sea_lion"])
    (('tench', 'goldfish'), ('sea lion',))
    >>> names_of_folders(["n99999999"]), names_of_folders(["cat", "07"])
    (None, None)
    """
    known = imagenet_classes()
    labels = [known.label_of(folder) for folder in folders]
    if None not in labels:
        return tuple(known.names[label] for label in labels if label is not None)
    if any(_NAMELESS.fullmatch(folder) for folder in folders):
        return None
    return tuple(folder.replace("_", " ") for folder in folders)


def _listed(found: RetrievalSet, classes: str) -> tuple[str, ...]:
    """The names that a class list gives to the classes of a set, by their wnids."""
    listed = parse_classes(classes) or imagenet_classes()
    labels = {wnid: listed.label_of(wnid) for wnid in found.images.classes.wnids}
    for wnid, label in labels.items():
        if label is None:
            raise SourceError(f"class list {classes}: has no class {wnid!r} of GPR1200")
    return tuple(listed.names[label] for label in labels.values() if label is not None)


def labels_in(train: Source, images: Source) -> Ints:
    """The labels of `train` (n,) as `images` numbers its classes; what it lacks comes after these.

    Classes are the same where their folders (or wnids) are. Raises SourceError where `train` shows
    nothing of a class that `images` shows.
    """
    known, mine = images.classes, train.classes
    shown = {mine.wnids[label] for label in set(train.labels)}
    wanted = [known.wnids[label] for label in sorted(set(images.labels))]
    if missing := [wnid for wnid in wanted if wnid not in shown]:
        raise SourceError(
            f"{train.location}: holds no images of {len(missing)} of the {len(wanted)} classes of "
            f"{images.location}, the first {missing[0]!r}; classes are matched by name"
        )
    extra = [wnid for wnid in mine.wnids if known.label_of(wnid) is None]
    number = {wnid: label for label, wnid in enumerate((*known.wnids, *extra))}
    return np.array([number[mine.wnids[label]] for label in train.labels], dtype=np.int64)


def _open_gpr1200(folder: Path) -> RetrievalSet:
    """GPR1200 as downloaded: one folder (or its `images`) of files `CLASS_….jpg`."""
    place = folder / "images" if (folder / "images").is_dir() else folder
    names = _images_in(place) if place.is_dir() else []
    if not names:
        raise SourceError(f"{folder}: holds no images named CLASS_….jpg, as GPR1200's are")
    files = []
    for name in names:
        found = _GPR_NAME.fullmatch(name)
        if found is None or int(found[1]) >= CLASSES_PER_DOMAIN * len(DOMAINS):
            raise SourceError(
                f"{place / name}: GPR1200's files begin with their class number, 0 to "
                f"{CLASSES_PER_DOMAIN * len(DOMAINS) - 1}, and `_`"
            )
        files.append((name, f"{int(found[1]):04d}"))
    source = _source("gpr1200", place, files)
    domains = tuple(DOMAINS[int(name) // CLASSES_PER_DOMAIN] for name in source.classes.names)
    return RetrievalSet(source, domains)


def _images_in(folder: Path) -> list[str]:
    return sorted(
        path.name
        for path in folder.iterdir()
        if not path.name.startswith(".")
        and PurePosixPath(path.name).suffix[1:].lower() in SUFFIXES
        and path.is_file()
    )


def _source(kind: str, folder: Path, files: list[tuple[str, str]]) -> Source:
    """A source of (path below `folder`, class name) pairs."""
    names = tuple(sorted({name for _, name in files}))
    label_of = {name: label for label, name in enumerate(names)}
    rows = [(path, label_of[name], path) for path, name in files]
    return FileSource(kind, folder, ClassList(names, names), rows)
