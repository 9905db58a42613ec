"""Labels of ILSVRC's flat validation folder, from any of the files that are in use for them."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

from attr_builder.errors import SourceError
from attr_builder.labelled_images.classes import ClassList
from attr_builder.labelled_images.labels import as_label

_WNID = re.compile(r"n\d{8}")


def read_labels(path: Path, names: Sequence[str], classes: ClassList) -> list[int]:
    """The label of each image file in `names` (sorted), read from the ground-truth file `path`.

    Understood: lines `FILE LABEL` or `FILE WNID` (Caffe's val.txt), Kaggle's LOC_val_solution.csv,
    one wnid per line, one label 0-999 per line, and the devkit's own
    ILSVRC2012_validation_ground_truth.txt, whose numbers 1-1000 follow the devkit's order and
    therefore need the devkit's meta.mat or map_clsloc.txt beside the file. Raises SourceError.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"label file {path} cannot be read: {error}") from error
    lines = [line for line in lines if line]
    if not lines:
        raise SourceError(f"label file {path}: is empty")
    if len(lines[0].replace(",", " ").split()) >= 2:
        return _by_name(path, lines, names, classes)
    if len(lines) != len(names):
        raise SourceError(
            f"label file {path}: has {len(lines)} lines for {len(names)} images; is it the file of "
            "another set, or are images missing?"
        )
    return _by_position(path, lines, classes)


def _by_name(path: Path, lines: list[str], names: Sequence[str], classes: ClassList) -> list[int]:
    truth: dict[str, int] = {}
    for number, row in enumerate(_csv_rows(path, lines)):
        words = " ".join(row).split()
        if len(words) < 2 or words[0] == "ImageId":
            continue
        truth[Path(words[0]).stem] = _label(path, number + 1, words[1], classes)
    missing = [name for name in names if Path(name).stem not in truth]
    if missing:
        raise SourceError(
            f"label file {path}: names {len(truth)} images but not {missing[0]} "
            f"({len(missing)} of {len(names)} are missing); is it the file of another set?"
        )
    return [truth[Path(name).stem] for name in names]


def _csv_rows(path: Path, lines: list[str]) -> list[list[str]]:
    try:
        return list(csv.reader(line.replace(",", " ", 1) for line in lines))
    except csv.Error as error:
        raise SourceError(f"label file {path}: {error}") from error


def _by_position(path: Path, lines: list[str], classes: ClassList) -> list[int]:
    numbers = [number for number in map(as_label, lines) if number is not None]
    are_all = len(numbers) == len(lines)
    if are_all and min(numbers) >= 1 and max(numbers) <= len(classes) == 1000:
        order = _devkit_order(path)
        lines = [_devkit_wnid(path, order, number) for number in numbers]
    return [_label(path, i + 1, line, classes) for i, line in enumerate(lines)]


def _label(path: Path, line: int, word: str, classes: ClassList) -> int:
    label = classes.label_of(word) if as_label(word) is None else as_label(word)
    if label is None or not 0 <= label < len(classes):
        raise SourceError(
            f"label file {path}, line {line}: {word!r} is no class of the class list "
            f"({len(classes)} classes)"
        )
    return label


def _devkit_wnid(path: Path, order: dict[int, str], number: int) -> str:
    if number not in order:
        raise SourceError(f"label file {path}: the devkit beside it has no class {number}")
    return order[number]


def _devkit_order(path: Path) -> dict[int, str]:
    """ILSVRC2012 id -> wnid, from the devkit file beside the ground truth."""
    for name in ("map_clsloc.txt", "meta.mat"):
        for folder in (path.parent, path.parent / "data", path.parent.parent):
            if (folder / name).is_file():
                return (_read_map if name.endswith(".txt") else _read_meta)(folder / name)
    raise SourceError(
        f"label file {path}: numbers 1 to 1000 follow the ILSVRC devkit's own class order, not "
        "that of the sorted wnids; put the devkit's meta.mat (or map_clsloc.txt) beside the file, "
        "or give a file with wnids or with lines `FILE LABEL`"
    )


def _read_map(path: Path) -> dict[int, str]:
    try:
        rows = [line.split() for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} cannot be read: {error}") from error
    found = {as_label(row[1]): row[0] for row in rows if len(row) >= 2 and _WNID.fullmatch(row[0])}
    numbered = {number: wnid for number, wnid in found.items() if number is not None}
    if len(numbered) < len(rows):
        raise SourceError(f"{path}: expected lines like `n02119789 1 kit_fox`, each number once")
    return numbered


def _read_meta(path: Path) -> dict[int, str]:
    from scipy.io import loadmat  # type: ignore[import-untyped,unused-ignore]

    try:
        synsets = loadmat(str(path), squeeze_me=True)["synsets"]
        return {int(synset[0]): str(synset[1]) for synset in synsets}
    except (KeyError, ValueError, TypeError, IndexError, OSError) as error:
        raise SourceError(f"{path}: is not the ILSVRC2012 devkit's meta.mat: {error}") from error
