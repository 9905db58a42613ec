"""Check a built set against its manifest: hashes of what is stored, and of what is drawn again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from attr_builder.building.manifest import Row, read_manifest
from attr_builder.building.stored import load_painter
from attr_builder.drawing.painter import Painter
from attr_builder.drawing.render import encode_image, load_image
from attr_builder.drawing.seeding import Draw
from attr_builder.errors import RowError, SetError
from attr_builder.labelled_images.classes import ClassList
from attr_builder.labelled_images.sources import Source, open_source
from lesstext.errors import ImageError
from lesstext.storage.files import read_file


@dataclass
class Verdict:
    """What verification found; `problems` is empty where all is as the manifest says."""

    n_stored: int = 0
    n_redrawn: int = 0
    problems: list[str] = field(default_factory=list)


def verify_set(
    out: Path, source: Source | None, *, n_sample: int = 100, seed: int = 0, full: bool = False
) -> Verdict:
    """Compare a sample of the set (all of it with `full`) with its manifest.

    Stored bytes are hashed; with `source`, the same images are read, drawn and encoded again and
    the source's own hash is compared too. Raises SetError where the manifest cannot be read.
    """
    painter = load_painter(out)
    rows = [row for row in read_manifest(out) if row.status == "ok"]
    if not rows:
        raise SetError(f"{out}: the manifest lists no image")
    chosen = rows if full or n_sample >= len(rows) else _sample(rows, n_sample, seed)
    stored = stored_reader(out, painter.classes)
    verdict = Verdict()
    for row in chosen:
        verdict.n_stored += 1
        verdict.problems += _check_stored(row, stored)
    if source is not None:
        index = {key: i for i, key in enumerate(source.keys)}
        for row in chosen:
            verdict.n_redrawn += 1
            verdict.problems += _check_redrawn(row, source, index, painter)
    return verdict


def _sample(rows: list[Row], n: int, seed: int) -> list[Row]:
    draw = Draw(seed, "", "verify")
    order = sorted(range(len(rows)), key=lambda _: draw.uniform())
    return [rows[i] for i in sorted(order[:n])]


def _check_stored(row: Row, read: Callable[[Row], bytes]) -> Iterator[str]:
    try:
        digest = hashlib.sha256(read(row)).hexdigest()
    except (OSError, RowError, KeyError) as error:
        yield f"{row.output}: cannot be read: {error}"
        return
    if digest != row.output_sha256:
        yield f"{row.output}: was changed since the build (SHA-256 {digest[:12]}…)"


def _check_redrawn(
    row: Row, source: Source, index: dict[str, int], painter: Painter
) -> Iterator[str]:
    if row.key not in index:
        yield f"{row.key}: is not in the source {source.location}"
        return
    try:
        data = source.read(index[row.key])
        if hashlib.sha256(data).hexdigest() != row.source_sha256:
            yield f"{row.key}: the source image is another one than at the build"
            return
        drawn = _draw_again(row, data, painter)
    except (RowError, ImageError) as error:
        yield f"{row.key}, {row.variant}: cannot be drawn again: {error}"
        return
    if hashlib.sha256(drawn).hexdigest() != row.output_sha256:
        yield f"{row.key}, {row.variant}: drawn again it gives other bytes (another Pillow?)"


def _draw_again(row: Row, data: bytes, painter: Painter) -> bytes:
    image = load_image(data, exif=painter.recipe.render.exif)
    twins = painter.twins(row.true_label, row.key)
    wanted = (row.variant, row.attack_no)
    twin = next(t for t in twins if (t.variant, t.attack_no) == wanted)
    return encode_image(painter.paint(image, twin, row.key)[0], painter.recipe.render)


def stored_reader(out: Path, classes: ClassList) -> Callable[[Row], bytes]:
    """A function that reads a row's stored image from whichever format the manifest names."""
    opened: dict[str, tuple[Source, dict[str, int]]] = {}

    def read(row: Row) -> bytes:
        name, inside, _ = str(row.output).partition(":")
        if not inside:
            return read_file(out / name)
        if row.variant not in opened:
            variant = open_source(out / row.variant, classes=classes)
            opened[row.variant] = (variant, {key: i for i, key in enumerate(variant.keys)})
        variant, index = opened[row.variant]
        return variant.read(index[str(row.output_name)])

    return read
