"""The classes of a dataset: label, WordNet id and the name that prompts and attacks use."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path

from attr_builder.errors import SourceError
from attr_builder.labelled_images.labels import as_label

# No `..` and nothing hidden; no `:`, which stands between a file and a key in a manifest.
_FOLDER = re.compile(r"[^./\\:\x00-\x1f][^/\\:\x00-\x1f]{0,199}")
DATA = files("attr_builder") / "data"


@dataclass(frozen=True, slots=True)
class ClassList:
    """Classes in label order: `wnids[label]` and `names[label]`; wnids are unique, names need
    not be (ImageNet has two classes called "missile" and two called "sunglasses")."""

    wnids: tuple[str, ...]
    names: tuple[str, ...]
    words: frozenset[str] = field(init=False, repr=False, compare=False)
    _labels: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.wnids) != len(self.names):
            raise ValueError(f"{len(self.wnids)} wnids but {len(self.names)} names")
        object.__setattr__(self, "_labels", {wnid: i for i, wnid in enumerate(self.wnids)})
        words = {word for name in self.names for word in name.casefold().split()}
        object.__setattr__(self, "words", frozenset(word for word in words if len(word) > 2))
        if len(self._labels) != len(self.wnids):
            raise ValueError("a wnid occurs twice in the class list")

    def __len__(self) -> int:
        return len(self.wnids)

    def label_of(self, wnid: str) -> int | None:
        """The label of a wnid, or None."""
        return self._labels.get(wnid)

    def same_name(self, a: int, b: int) -> bool:
        """Whether two labels carry one name, so that drawing b's name on a is no attack."""
        return self.names[a].casefold().strip() == self.names[b].casefold().strip()


@cache
def imagenet_classes() -> ClassList:
    """ImageNet's 1,000 classes in the order of their sorted WordNet ids."""
    return _parse(DATA.joinpath("imagenet_classes.csv").read_text("utf-8"), "imagenet_classes.csv")


def load_class_list(path: Path | None) -> ClassList:
    """Read a class list, or ImageNet's when `path` is None.

    CSV with the header `wnid,name` and optionally `label` (0, 1, 2, … in any order). Raises
    SourceError for another shape, naming the line.
    """
    if path is None:
        return imagenet_classes()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"class list {path} cannot be read: {error}") from error
    return _parse(text, str(path))


def write_class_list(classes: ClassList) -> str:
    """The class list as the CSV text that `load_class_list` reads."""
    lines = ["label,wnid,name"]
    for label, (wnid, name) in enumerate(zip(classes.wnids, classes.names, strict=True)):
        quoted = '"' + name.replace('"', '""') + '"' if set(name) & set(',"\n') else name
        lines.append(f"{label},{wnid},{quoted}")
    return "\n".join(lines) + "\n"


def _parse(text: str, origin: str) -> ClassList:
    try:
        rows = list(csv.DictReader(text.splitlines()))
    except csv.Error as error:
        raise SourceError(f"class list {origin}: {error}") from error
    if not rows or not {"wnid", "name"} <= set(rows[0]):
        raise SourceError(f"class list {origin}: needs a header with the columns wnid,name[,label]")
    found: dict[int, tuple[str, str]] = {}
    for number, row in enumerate(rows):
        wnid, name = (row["wnid"] or "").strip(), (row["name"] or "").strip()
        label = _label(row.get("label"), number, origin)
        if not wnid or not name or label in found or not _FOLDER.fullmatch(wnid):
            raise SourceError(
                f"class list {origin}, line {number + 2}: needs its own label, a wnid that can be "
                f"a folder name, and a name; found label {label}, wnid {wnid!r}, name {name!r}"
            )
        found[label] = (wnid, name)
    if sorted(found) != list(range(len(found))):
        raise SourceError(f"class list {origin}: labels must be 0 to {len(found) - 1}, each once")
    ordered = [found[label] for label in range(len(found))]
    try:
        return ClassList(tuple(w for w, _ in ordered), tuple(n for _, n in ordered))
    except ValueError as error:
        raise SourceError(f"class list {origin}: {error}") from error


def _label(text: str | None, number: int, origin: str) -> int:
    if text is None or not text.strip():
        return number
    label = as_label(text.strip())
    if label is None:
        raise SourceError(
            f"class list {origin}, line {number + 2}: label {text[:40]!r} is not a whole number"
        )
    return label
