"""Where encoded images go: an ImageFolder mirror, CLIP_benchmark shards, Hugging Face parquet.

One writer serves one chunk of images. Files appear whole or not at all; a chunk that is built
again overwrites its own files with equal bytes.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections import Counter
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from typing import Any, Literal, Protocol

from attr_builder.drawing.presets import Variant
from attr_builder.labelled_images.classes import ClassList
from lesstext.clip import prompt_templates
from lesstext.storage.files import PARTIAL_SUFFIX, atomic_path, write_text
from lesstext.storage.owners import name_tag

Format = Literal["imagefolder", "webdataset", "parquet"]
FORMATS: tuple[Format, ...] = ("imagefolder", "webdataset", "parquet")
_ROWS_PER_GROUP = 100


class Writer(AbstractContextManager["Writer"], Protocol):
    """Takes one image at a time; leaving the context without an error publishes the files."""

    def add(self, variant: Variant, name: str, label: int, data: bytes, suffix: str) -> str:
        """Store one image; returns where, relative to the output folder."""


class ImageFolderWriter(Writer):
    """`OUT/VARIANT/val/WNID/STEM.jpg`, each file renamed into place when it is complete."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._folders: set[str] = set()
        self._tag = name_tag()

    def add(self, variant: Variant, name: str, label: int, data: bytes, suffix: str) -> str:
        relative = f"{variant}/val/{name}{suffix}"
        target = f"{self._out}/{relative}"
        folder, _, base = target.rpartition("/")
        if folder not in self._folders:
            os.makedirs(folder, exist_ok=True)
            self._folders.add(folder)
        partial = f"{folder}/.{base}.{self._tag}{PARTIAL_SUFFIX}"
        try:
            with open(partial, "wb") as file:
                file.write(data)
            os.replace(partial, target)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(partial)
            raise
        return relative

    def __exit__(self, *_: object) -> None:
        return None


class ShardWriter(Writer):
    """`OUT/VARIANT/test/N.tar` with an image and a `.cls` per sample, N being the chunk."""

    def __init__(self, out: Path, variants: tuple[Variant, ...], chunk: int) -> None:
        self._stack = ExitStack()
        self._chunk = chunk
        self._tars: dict[Variant, tarfile.TarFile] = {}
        for variant in variants:
            partial = self._stack.enter_context(
                atomic_path(out / variant / "test" / f"{chunk}.tar")
            )
            self._tars[variant] = self._stack.enter_context(
                tarfile.open(partial, "w", format=tarfile.GNU_FORMAT)  # noqa: SIM115
            )

    def add(self, variant: Variant, name: str, label: int, data: bytes, suffix: str) -> str:
        key = name.replace("%", "%25").replace(".", "%2E")  # a key ends at its first dot
        _add_member(self._tars[variant], f"{key}{suffix}", data)
        _add_member(self._tars[variant], f"{key}.cls", str(label).encode())
        return f"{variant}/test/{self._chunk}.tar:{key}"

    def __exit__(self, *details: Any) -> None:
        self._stack.__exit__(*details)


class ParquetWriter(Writer):
    """`OUT/VARIANT/data/validation-N-of-M.parquet` in the layout that `datasets` reads."""

    def __init__(
        self,
        out: Path,
        variants: tuple[Variant, ...],
        chunk: int,
        n_chunks: int,
        classes: ClassList,
    ) -> None:
        import pyarrow.parquet as pq

        self._stack = ExitStack()
        self._name = f"data/validation-{chunk:05d}-of-{n_chunks:05d}.parquet"
        self._schema = _image_schema(classes)
        self._tables: dict[Variant, Any] = {}
        self._rows: dict[Variant, list[dict[str, Any]]] = {variant: [] for variant in variants}
        for variant in variants:
            partial = self._stack.enter_context(atomic_path(out / variant / self._name))
            table = pq.ParquetWriter(partial, self._schema, compression="none")
            self._tables[variant] = self._stack.enter_context(table)

    def add(self, variant: Variant, name: str, label: int, data: bytes, suffix: str) -> str:
        rows = self._rows[variant]
        rows.append({"image": {"bytes": data, "path": name + suffix}, "label": label})
        if len(rows) == _ROWS_PER_GROUP:
            self._flush(variant)
        return f"{variant}/{self._name}:{name}"

    def _flush(self, variant: Variant) -> None:
        import pyarrow as pa

        rows = self._rows[variant]
        if rows:
            self._tables[variant].write_table(pa.Table.from_pylist(rows, schema=self._schema))
        self._rows[variant] = []

    def __exit__(self, kind: Any, *details: Any) -> None:
        if kind is None:
            for variant in self._tables:
                self._flush(variant)
        self._stack.__exit__(kind, *details)


def open_writer(
    form: Format,
    out: Path,
    variants: tuple[Variant, ...],
    chunk: int,
    n_chunks: int,
    classes: ClassList,
) -> Writer:
    """The writer of one format for one chunk."""
    if form == "imagefolder":
        return ImageFolderWriter(out)
    if form == "webdataset":
        return ShardWriter(out, variants, chunk)
    return ParquetWriter(out, variants, chunk, n_chunks, classes)


def write_benchmark_files(
    out: Path, variants: tuple[Variant, ...], n_chunks: int, classes: ClassList
) -> None:
    """What CLIP_benchmark expects beside the shards: names, templates, number of shards."""
    for variant in variants:
        folder = out / variant
        write_text(folder / "test" / "nshards.txt", f"{n_chunks}\n")
        write_text(folder / "classnames.txt", "\n".join(classes.names) + "\n")
        templates = "\n".join(prompt_templates(80)) + "\n"
        write_text(folder / "zeroshot_classification_templates.txt", templates)


def _add_member(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def _distinct_names(classes: ClassList) -> list[str]:
    """The class names, with the wnid behind those that several classes share: `datasets` refuses
    a label name that occurs twice."""
    count = Counter(classes.names)
    pairs = zip(classes.names, classes.wnids, strict=True)
    return [name if count[name] == 1 else f"{name} ({wnid})" for name, wnid in pairs]


def _image_schema(classes: ClassList) -> Any:
    """Columns image{bytes, path} and label, typed for `datasets` by the footer."""
    import pyarrow as pa

    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    features = {
        "image": {"_type": "Image"},
        "label": {"names": _distinct_names(classes), "_type": "ClassLabel"},
    }
    info = json.dumps({"info": {"features": features}})
    return pa.schema([("image", image), ("label", pa.int64())], metadata={"huggingface": info})
