"""Build a set: one pass over the source, in parallel, resumable, the same bytes in any order.

The source is cut into chunks. A worker makes all twins of a chunk's images and, last of all,
writes the chunk's part of the manifest; a chunk is done when that part exists and the files it
names do. When all are done the parts become the manifest and the dataset card.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from attr_builder.building.card import Statistics, write_card
from attr_builder.building.manifest import PARQUET_NAME, Row, placement_fields, write_manifest
from attr_builder.building.names import output_stems
from attr_builder.building.stored import CLASSES_NAME, MAP_NAME, RECIPE_NAME
from attr_builder.building.writers import Format, Writer, open_writer, write_benchmark_files
from attr_builder.drawing.attacks import check_enough_classes
from attr_builder.drawing.fonts import resolve_font
from attr_builder.drawing.painter import Painter, Twin
from attr_builder.drawing.render import encode_image, load_image
from attr_builder.errors import RowError, SetError, UsageError
from attr_builder.labelled_images.classes import write_class_list
from attr_builder.labelled_images.sources import Source
from lesstext.errors import ImageError
from lesstext.processes import worker_pool
from lesstext.storage.files import ensure_writable, remove_leftovers, write_text
from lesstext.storage.guard import claim_folder, refuse_overlap

_PARTS = ".build"
CHUNK_SIZE = 250

OnChunk = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Build:
    """One build: what is made from what, and where; picklable, and equal for every worker."""

    source: Source
    painter: Painter
    out: Path
    formats: tuple[Format, ...] = ("imagefolder",)
    chunk_size: int = CHUNK_SIZE

    def __post_init__(self) -> None:
        if not self.formats or len(set(self.formats)) < len(self.formats):
            raise UsageError(f"formats: name each once, at least one; got {self.formats}")
        if self.chunk_size < 1:
            raise UsageError(f"chunk size must be at least 1, is {self.chunk_size}")

    @property
    def n_chunks(self) -> int:
        """Number of chunks, and of shards per variant."""
        return -(-len(self.source) // self.chunk_size)

    def rows_of(self, chunk: int) -> range:
        """The source indices of one chunk."""
        start = chunk * self.chunk_size
        return range(start, min(start + self.chunk_size, len(self.source)))

    @cached_property
    def stems(self) -> list[str]:
        """Where each image's twins lie below their variant, but for the number of the attack."""
        return output_stems(self.source.keys, self.source.labels, self.source.classes.wnids)

    def output_name(self, index: int, attack_no: int) -> str:
        """Where a twin lies below its variant, without suffix: `WNID/STEM`; unique per twin."""
        several = self.painter.recipe.attacks_per_image > 1
        return f"{self.stems[index]}__a{attack_no}" if several else self.stems[index]

    def part(self, chunk: int) -> Path:
        """Where a chunk's part of the manifest lies until the build is complete."""
        return self.out / _PARTS / f"part-{chunk:05d}.jsonl"


def run_build(build: Build, *, n_workers: int = 1, on_chunk: OnChunk | None = None) -> Statistics:
    """Build what is missing; `on_chunk` is told (images done, images already there before).

    Returns the statistics of the whole set. Raises UsageError for an output folder that holds
    something else or lies in the source (or the source in it), SetError when a worker dies.
    """
    refuse_overlap(build.out, [build.source.location])
    check_enough_classes(build.painter.recipe, build.painter.attack_map, build.source.classes)
    _claim(build)
    tell = on_chunk or (lambda n_new, n_before: None)
    if (build.out / PARQUET_NAME).exists():
        tell(0, len(build.source))
        return _finish(build)
    try:
        _build_missing(build, n_workers, tell)
    except BaseException:  # Ctrl-C, a full disk: nothing half-written stays behind
        remove_leftovers(build.out)
        raise
    return _finish(build)


def _build_missing(build: Build, n_workers: int, tell: OnChunk) -> None:
    pending = [chunk for chunk in range(build.n_chunks) if not _is_done(build, chunk)]
    there = len(build.source) - sum(len(build.rows_of(chunk)) for chunk in pending)
    tell(0, there)
    with closing(_run_chunks(build, pending, n_workers)) as chunks:
        for n_done in chunks:
            tell(n_done, there)


def build_chunk(build: Build, chunk: int) -> int:
    """Make all twins of one chunk; returns the number of its images."""
    recipe = build.painter.recipe
    with ExitStack() as stack:
        writers = [
            stack.enter_context(
                open_writer(
                    form, build.out, recipe.variants, chunk, build.n_chunks, build.source.classes
                )
            )
            for form in build.formats
        ]
        rows = [
            row for index in build.rows_of(chunk) for row in _build_image(build, index, writers)
        ]
    write_text(build.part(chunk), "".join(row.to_json() + "\n" for row in rows))
    return len(build.rows_of(chunk))


def identity(build: Build) -> dict[str, Any]:
    """What decides the set's bytes, as stored in recipe.json."""
    import PIL

    painter, source = build.painter, build.source
    index = "\n".join(f"{k}\t{v}" for k, v in zip(source.keys, source.labels, strict=True))
    return {
        "recipe": painter.recipe.as_json(),
        "formats": list(build.formats),
        "chunk_size": build.chunk_size,
        "source": {"kind": source.kind, "n_images": len(source), "index_sha256": _sha256(index)},
        "classes_sha256": _sha256(write_class_list(painter.classes)),
        "attack_map_sha256": _sha256(painter.attack_map.to_csv(painter.classes)),
        "font_sha256": resolve_font(painter.recipe.render.font).sha256,
        "pillow": PIL.__version__,
    }


def _build_image(build: Build, index: int, writers: list[Writer]) -> Iterator[Row]:
    """The rows of one source image; the only place where one image's failure is caught."""
    source, painter = build.source, build.painter
    key, label = source.keys[index], source.labels[index]
    twins = painter.twins(label, key)
    digest: str | None = None
    try:
        data = source.read(index)
        digest = hashlib.sha256(data).hexdigest()
        image = load_image(data, exif=painter.recipe.render.exif)
    except (RowError, ImageError) as error:
        for twin in twins:
            yield _row(build, index, twin, digest, status=error.status, reason=error.reason)
        return
    for twin in twins:
        try:
            fields = _make_twin(build, image, twin, index, writers, in_place=twin is twins[-1])
        except RowError as error:
            fields = {"status": error.status, "reason": error.reason}
        size = {"width": image.width, "height": image.height}
        yield _row(build, index, twin, digest, **size, **fields)


def _make_twin(
    build: Build, image: Any, twin: Twin, index: int, writers: list[Writer], *, in_place: bool
) -> dict[str, Any]:
    """Draw, encode and store one twin; returns its part of the row. Raises RowError."""
    key, label = build.source.keys[index], build.source.labels[index]
    render = build.painter.recipe.render
    painted, placement = build.painter.paint(image, twin, key, in_place=in_place)
    data = encode_image(painted, render)
    name = build.output_name(index, twin.attack_no)
    stored = [writer.add(twin.variant, name, label, data, render.suffix) for writer in writers]
    return {
        "status": "ok",
        "reason": None,
        **placement_fields(placement, image.size, resolve_font(render.font)),
        "output_name": name,
        "output": stored[0],
        "output_sha256": hashlib.sha256(data).hexdigest(),
        "output_bytes": len(data),
    }


def _row(build: Build, index: int, twin: Twin, digest: str | None, **fields: Any) -> Row:
    source, classes = build.source, build.painter.classes
    label, attack = source.labels[index], twin.attack.label
    return Row(
        key=source.keys[index],
        variant=twin.variant,
        attack_no=twin.attack_no,
        source_path=source.paths[index],
        source_sha256=digest,
        true_label=label,
        true_wnid=classes.wnids[label],
        true_name=classes.names[label],
        attack_label=attack,
        attack_wnid=classes.wnids[attack],
        attack_name=classes.names[attack],
        strategy=twin.attack.strategy,
        noop=twin.attack.is_noop,
        seed=build.painter.recipe.seed,
        **{"width": None, "height": None, **fields},
    )


def _claim(build: Build) -> None:
    """Write what this folder will hold, or check that it is what the folder holds already."""
    ensure_writable(build.out)
    claim_folder(build.out, "attack set")
    path, wanted = build.out / RECIPE_NAME, identity(build)
    if path.exists():
        try:
            held = dict(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError, RecursionError) as error:
            raise SetError(f"{path} is damaged: {error}; delete the set to build anew") from error
        differing = [name for name in wanted if held.get(name) != json.loads(_dump(wanted))[name]]
        if differing:
            raise UsageError(
                f"{build.out} holds a set that differs in {', '.join(differing)}; choose another "
                "--out, or delete it to build anew"
            )
        remove_leftovers(build.out)
        return
    write_text(build.out / CLASSES_NAME, write_class_list(build.painter.classes))
    write_text(build.out / MAP_NAME, build.painter.attack_map.to_csv(build.painter.classes))
    write_text(path, _dump(wanted))


def _is_done(build: Build, chunk: int) -> bool:
    """Whether a chunk's part exists and every file it names has the size it says."""
    try:
        rows = list(_read_part(build, chunk))
    except (FileNotFoundError, UnicodeDecodeError, SetError):  # a damaged part is made again
        return False
    return all(_is_whole(build.out, row) for row in rows)


def _is_whole(out: Path, row: Row) -> bool:
    if row.output is None:
        return True
    name, colon, _ = row.output.partition(":")
    try:
        size = os.stat(out / name).st_size
    except FileNotFoundError:
        return False
    return bool(colon) or size == row.output_bytes


def _read_part(build: Build, chunk: int) -> Iterator[Row]:
    with build.part(chunk).open(encoding="utf-8") as file:
        yield from map(Row.from_json, file)


def _run_chunks(build: Build, pending: list[int], n_workers: int) -> Generator[int, None, None]:
    """Yield the number of images of each chunk as it is done."""
    if n_workers <= 1 or len(pending) <= 1:
        _use_one_thread()
        yield from (build_chunk(build, chunk) for chunk in pending)
        return
    with worker_pool(min(n_workers, len(pending)), _start_worker, build) as pool:
        futures: list[Future[int]] = [pool.submit(_work, chunk) for chunk in pending]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise SetError(
                "a worker process died (killed, or out of memory); the same command goes on from "
                "where it stopped"
            ) from error


_worker_build: Build | None = None


def _start_worker(build: Build) -> None:
    global _worker_build
    _worker_build = build


def _use_one_thread() -> None:
    """Keep OpenCV to the core that this process was given; small images gain nothing from more."""
    import cv2

    cv2.setNumThreads(1)


def _work(chunk: int) -> int:
    assert _worker_build is not None
    return build_chunk(_worker_build, chunk)


def _finish(build: Build) -> Statistics:
    """Turn the parts into the manifest and the card; repeatable until the parts are gone."""
    statistics = Statistics()
    if not (build.out / PARQUET_NAME).exists():
        chunks = range(build.n_chunks)
        rows = (row for chunk in chunks for row in _read_part(build, chunk))
        metadata = {"recipe": _dump(identity(build))}
        if "webdataset" in build.formats:
            variants = build.painter.recipe.variants
            write_benchmark_files(build.out, variants, build.n_chunks, build.painter.classes)
        write_manifest(build.out, statistics.watch(rows), metadata)
    else:
        from attr_builder.building.manifest import read_manifest

        for _ in statistics.watch(read_manifest(build.out)):
            pass
    write_card(build.out, build.painter.recipe, build.formats, statistics)
    for part in (build.out / _PARTS).glob("part-*.jsonl"):
        part.unlink()
    if (build.out / _PARTS).is_dir():
        (build.out / _PARTS).rmdir()
    return statistics


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _dump(data: dict[str, Any]) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
