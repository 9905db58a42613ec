"""Labelled images as one addressable sequence, whatever they are stored in.

`open_source` recognises an ImageFolder, ILSVRC's flat validation folder, Hugging Face parquet,
WebDataset shards, and the sets that attr_builder writes (one variant at a time). Sources hold an
index of keys and labels only; image bytes are read one at a time, so memory stays flat. They can
be pickled into worker processes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote

from attr_builder.errors import RowError, SourceError
from attr_builder.labelled_images.classes import ClassList, imagenet_classes, load_class_list
from attr_builder.labelled_images.groundtruth import read_labels
from attr_builder.labelled_images.labels import as_label
from attr_builder.labelled_images.parquet import declared_names, holds_images, one_line, read_group
from attr_builder.labelled_images.trees import SUFFIXES
from lesstext.shards.specs import expand_specs
from lesstext.shards.tar_reading import SampleEntry, index_shard, read_member
from lesstext.storage.files import read_file


@dataclass(frozen=True, slots=True)
class SourceItem:
    """One labelled image: its key (unique in the source), label, encoded bytes and origin."""

    key: str
    label: int
    data: bytes
    path: str


class Source(ABC, Sequence[SourceItem]):
    """Images in a fixed order; `keys[i]`, `labels[i]` and `paths[i]` cost no I/O.

    `location` is the folder (or folder of the files) that is read; `n_ignored` counts files there
    that are not images by their name.
    """

    def __init__(self, kind: str, location: Path, classes: ClassList) -> None:
        self.kind = kind
        self.location = location
        self.classes = classes
        self.keys: list[str] = []
        self.labels: list[int] = []
        self.paths: list[str] = []
        self.n_ignored = 0

    @abstractmethod
    def read(self, index: int) -> bytes:
        """The encoded bytes of image `index`; raises RowError when they cannot be had."""

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        i = range(len(self))[index]
        return SourceItem(self.keys[i], self.labels[i], self.read(i), self.paths[i])

    def __iter__(self) -> Iterator[SourceItem]:
        return (self[i] for i in range(len(self)))

    def _check(self) -> None:
        """Refuse what would be mislabelled or would overwrite itself later."""
        if not self.keys:
            raise SourceError(f"{self.location}: holds no images ({self.kind})")
        for key, label, path in zip(self.keys, self.labels, self.paths, strict=True):
            if not 0 <= label < len(self.classes):
                raise SourceError(
                    f"{self.location}, key {key} ({path}): label {label}, but the class list has "
                    f"{len(self.classes)} classes; give the right one with --classes"
                )
        repeated = [key for key, n in Counter(self.keys).items() if n > 1]
        if repeated:
            both = [p for k, p in zip(self.keys, self.paths, strict=True) if k == repeated[0]]
            raise SourceError(
                f"{self.location}: {len(repeated)} keys occur more than once, the first "
                f"{repeated[0]!r} in {both[0]} and {both[1]}"
            )


class FileSource(Source):
    """Image files with labels, given as (key, label, path relative to `location`)."""

    def __init__(
        self, kind: str, location: Path, classes: ClassList, files: Sequence[tuple[str, int, str]]
    ) -> None:
        super().__init__(kind, location, classes)
        for key, label, path in sorted(files):
            self.keys.append(key)
            self.labels.append(label)
            self.paths.append(path)
        self._check()

    def read(self, index: int) -> bytes:
        try:
            return read_file(self.location / self.paths[index])
        except OSError as error:
            raise RowError("unreadable", f"cannot be read: {error}") from error


class ParquetSource(Source):
    """Hugging Face parquet: `image` as struct{bytes, path} (or plain bytes), `label` as integer."""

    def __init__(self, location: Path, files: Sequence[Path], classes: ClassList) -> None:
        super().__init__("parquet", location, classes)
        self._files = list(files)
        self._rows: list[tuple[int, int, int]] = []
        self._cached: tuple[tuple[int, int], Any] | None = None
        names: list[str | None] = []
        for number, path in enumerate(self._files):
            names += self._index(number, path)
        if all(names) and len(set(names)) == len(names):
            self.keys = [str(Path(str(name)).with_suffix("")) for name in names]
        self._check()

    def read(self, index: int) -> bytes:
        import pyarrow.parquet as pq
        from pyarrow import ArrowException

        file, group, row = self._rows[index]
        if self._cached is None or self._cached[0] != (file, group):
            try:
                table = pq.ParquetFile(self._files[file]).read_row_group(group, columns=["image"])
            except (OSError, ArrowException) as error:
                raise RowError("unreadable", f"cannot be read: {one_line(error)}") from error
            self._cached = ((file, group), table.column("image"))
        value = self._cached[1][row].as_py()
        data = value.get("bytes") if isinstance(value, dict) else value
        if not data:
            raise RowError("unreadable", "the image column holds no bytes here")
        return bytes(data)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cached": None}

    def _index(self, number: int, path: Path) -> list[str | None]:
        """Add one file's rows; returns the names that its `image.path` gives them."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            file = pq.ParquetFile(path)
        except (OSError, pa.ArrowInvalid) as error:
            raise SourceError(f"{path}: not a readable parquet file: {error}") from error
        self._check_schema(path, file.schema_arrow)
        is_struct = pa.types.is_struct(file.schema_arrow.field("image").type)
        columns = ["label", *(["image.path"] if is_struct else [])]
        names: list[str | None] = []
        for group in range(file.metadata.num_row_groups):
            for row, value in enumerate(read_group(path, file, group, columns)):
                label = as_label(value["label"])
                if label is None:
                    raise SourceError(
                        f"{path}, row group {group}, row {row}: "
                        f"label is no whole number: {str(value['label'])[:40]}"
                    )
                position = len(names)
                names.append((value.get("image") or {}).get("path"))
                self.keys.append(f"{path.stem}-{position:07d}")
                self.labels.append(label)
                self.paths.append(f"{path.name}#{position}")
                self._rows.append((number, group, row))
        return names

    def _check_schema(self, path: Path, schema: Any) -> None:
        missing = {"image", "label"} - set(schema.names)
        if missing:
            raise SourceError(
                f"{path}: lacks the column {sorted(missing)[0]!r}; it has {', '.join(schema.names)}"
            )
        declared = declared_names(schema.metadata or {})
        if declared is not None and len(declared) != len(self.classes):
            raise SourceError(
                f"{path}: declares {len(declared)} classes, but the class list has "
                f"{len(self.classes)}; give the right one with --classes"
            )


class TarSource(Source):
    """WebDataset shards whose samples hold an image and a `cls` with the label as text."""

    def __init__(self, location: Path, spec: str, classes: ClassList) -> None:
        super().__init__("webdataset", location, classes)
        self._entries: list[tuple[Path, SampleEntry]] = []
        self._open: tuple[Path, BinaryIO] | None = None
        shards = expand_specs([spec])
        for shard in shards:
            if not (shard.is_local and shard.is_tar):
                raise SourceError(f"{shard.location}: only local, plain tars can be read here")
            self._index(Path(shard.location))
        if len(set(self.keys)) < len(self.keys):  # identity is (shard, key)
            stems = [path.rsplit(".tar:", 1)[0] for path in self.paths]
            self.keys = [f"{s}/{key}" for s, key in zip(stems, self.keys, strict=True)]
        self._check()

    def read(self, index: int) -> bytes:
        path, entry = self._entries[index]
        if entry.image is None:
            raise RowError("missing_image", "the sample holds no image")
        if self._open is None or self._open[0] != path:
            self._open = (path, path.open("rb"))
        return read_member(self._open[1], entry.image)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None}

    def _index(self, path: Path) -> None:
        index = index_shard(path)
        if index.problems:
            raise SourceError(f"{path}: {'; '.join(index.problems)}")
        with path.open("rb") as file:
            for entry in index.samples:
                self.keys.append(unquote(entry.key))
                self.labels.append(_shard_label(file, path, entry))
                self.paths.append(f"{path.name}:{entry.key}")
                self._entries.append((path, entry))


def open_source(
    spec: str | Path, *, classes: ClassList | None = None, labels: Path | None = None
) -> Source:
    """Open whatever `spec` names: a folder, a parquet file, or shards (folder, glob, braces).

    `classes` defaults to ImageNet's 1,000; class folders and labels keep their true ImageNet
    index when some classes are missing. `labels` is the ground-truth file of a flat folder.
    Raises SourceError for anything that would be guessed at, naming the file.
    """
    path = Path(spec).expanduser()
    chosen = classes or imagenet_classes()
    source = _open(path, str(spec), chosen, labels)
    if classes is None and source.kind in ("parquet", "webdataset"):
        _refuse_other_numbering(source)
    return source


def parse_classes(text: str | None) -> ClassList | None:
    """The value of `--classes`: None, the word `imagenet`, or a CSV file."""
    if text is None:
        return None
    return imagenet_classes() if text == "imagenet" else load_class_list(Path(text))


def _open(path: Path, spec: str, classes: ClassList, labels: Path | None) -> Source:
    if labels is not None:
        return _open_flat(path, classes, labels)
    if path.suffix == ".parquet" and path.is_file():
        return ParquetSource(path.parent, [path], classes)
    if not path.is_dir():
        if any(mark in spec for mark in "*?{") or path.suffix == ".tar":
            return TarSource(path.parent, spec, classes)
        raise SourceError(f"{spec}: no such folder or file")
    for below in ("val", "test", "data"):
        if (path / below).is_dir() and not _class_folders(path, classes):
            path = path / below
            break
    if _class_folders(path, classes):
        return _open_image_folder(path, classes)
    if any(path.glob("*.tar")):  # parquet beside tars is what is known of their samples
        return TarSource(path, str(path), classes)
    parquet = sorted(path.glob("*.parquet"))
    if any(map(holds_images, parquet)):
        parquet = [file for file in parquet if holds_images(file)]
    elif any(p.suffix[1:].lower() in SUFFIXES for p in path.iterdir()):
        parquet = []  # metadata of the images
    if parquet:
        return ParquetSource(path, parquet, classes)
    return _explain_folder(path, classes)


def _class_folders(path: Path, classes: ClassList) -> list[Path]:
    return [p for p in path.iterdir() if p.is_dir() and classes.label_of(p.name) is not None]


def _open_image_folder(path: Path, classes: ClassList) -> Source:
    files: list[tuple[str, int, str]] = []
    n_ignored = 0
    for folder in sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")):
        label = classes.label_of(folder.name)
        if label is None:
            raise SourceError(
                f"{folder}: is no class of the class list ({len(classes)} classes, the first "
                f"{classes.wnids[0]}); remove it or give the right list with --classes"
            )
        for file in folder.rglob("*"):
            if file.suffix[1:].lower() in SUFFIXES and not file.name.startswith("."):
                name = file.relative_to(path).as_posix()
                files.append((name[: -len(file.suffix)], label, name))
            elif file.is_file():
                n_ignored += 1
    source = FileSource("imagefolder", path, classes, files)
    source.n_ignored = n_ignored
    return source


def _open_flat(path: Path, classes: ClassList, labels: Path) -> Source:
    if not path.is_dir():
        raise SourceError(f"{path}: no such folder; --labels goes with a flat folder of images")
    found = sorted(p.name for p in path.iterdir() if p.suffix[1:].lower() in SUFFIXES)
    if not found:
        raise SourceError(f"{path}: holds no image files; --labels goes with a flat folder")
    truth = read_labels(labels, found, classes)
    files = [(Path(n).stem, label, n) for n, label in zip(found, truth, strict=True)]
    return FileSource("flat", path, classes, files)


def _explain_folder(path: Path, classes: ClassList) -> Source:
    folders = [p.name for p in path.iterdir() if p.is_dir()][:3]
    if folders:
        raise SourceError(
            f"{path}: its folders ({', '.join(folders)}, …) are not classes of the class list "
            f"({len(classes)} classes, the first {classes.wnids[0]}); give it with --classes"
        )
    if any(p.suffix[1:].lower() in SUFFIXES for p in path.iterdir()):
        raise SourceError(f"{path}: a flat folder of images needs its ground truth: give --labels")
    raise SourceError(f"{path}: holds no class folders, parquet files or tar shards")


def _refuse_other_numbering(source: Source) -> None:
    """Labels 0 to n-1 with n < 1000 are most likely another dataset's numbering."""
    used = set(source.labels)
    if 1 < len(used) < len(source.classes) and used == set(range(len(used))):
        raise SourceError(
            f"{source.location}: its labels run from 0 to {len(used) - 1}, which does not look "
            f"like ImageNet's {len(source.classes)}; give --classes FILE (a CSV wnid,name), or "
            "--classes imagenet if these are ImageNet's first classes"
        )


def _shard_label(file: BinaryIO, path: Path, entry: SampleEntry) -> int:
    member = entry.member("cls", "cls.txt")
    text = read_member(file, member).decode("utf-8", "replace").strip() if member else ""
    label = as_label(text)
    if label is None:
        held = repr(text[:40])
        raise SourceError(f"{path}, key {entry.key}: needs a `cls` with the label, has {held}")
    return label
