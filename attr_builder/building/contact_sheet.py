"""One HTML page that shows a built set's images with their manifest rows, and filters them."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

from attr_builder.building.manifest import Row, read_manifest
from attr_builder.building.stored import load_painter
from attr_builder.building.verify import stored_reader
from attr_builder.drawing.presets import VARIANTS
from attr_builder.drawing.render import load_image
from attr_builder.drawing.seeding import Draw
from attr_builder.errors import SetError, UsageError
from lesstext.storage.files import write_text

THUMBNAIL_PX = 224


def write_contact_sheet(
    out: Path, page: Path, *, n_images: int = 200, variant: str | None = None, seed: int = 0
) -> int:
    """Write a page with up to `n_images` twins, drawn by seed; returns how many it shows.

    The twins of a photo stand side by side, and are all there or none: unless those of the first
    photo are more than `n_images`, no more than that many are shown. The page holds its thumbnails
    (the whole image, with the 224 crop and the text box marked) and needs no other file. Raises
    SetError where there is nothing to show.
    """
    if n_images < 1:
        raise UsageError(f"a page needs at least one image, got {n_images}")
    painter = load_painter(out)
    rows = [row for row in read_manifest(out) if variant in (None, row.variant)]
    if not rows:
        raise SetError(f"{out}: the manifest lists no image of the variant {variant}")
    photos = _choose(rows, n_images, seed)
    read = stored_reader(out, painter.classes)
    cards = [[_card(row, read) for row in twins] for twins in photos]
    write_text(page, _render(out, cards, len(rows), painter.recipe.preset))
    return sum(map(len, cards))


def _choose(rows: list[Row], n: int, seed: int) -> list[list[Row]]:
    """Photos with failures first (they most need an eye), then a random rest; each is the list of
    its twins for one attack, in the order of the variants."""
    twins: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        twins.setdefault((row.key, row.attack_no), []).append(row)
    failed = {row.key for row in rows if row.status != "ok"}
    lots = {key: Draw(seed, key, "inspect").uniform() for key, _ in twins}
    order = sorted(twins, key=lambda photo: (photo[0] not in failed, lots[photo[0]], photo))
    totals = accumulate(len(twins[photo]) for photo in order)
    n_photos = max(1, sum(total <= n for total in totals))
    return [
        sorted(twins[photo], key=lambda row: VARIANTS.index(row.variant))
        for photo in order[:n_photos]
    ]


def _card(row: Row, read: Callable[[Row], bytes]) -> dict[str, Any]:
    card = row.as_dict()
    card["thumbnail"] = None if row.status != "ok" else _thumbnail(read(row))
    if row.width and row.height:
        side = min(row.width, row.height)
        card["crop"] = [
            (row.width - side) / 2 / row.width * 100,
            (row.height - side) / 2 / row.height * 100,
            side / row.width * 100,
            side / row.height * 100,
        ]
    if row.box_ratio:
        x0, y0, x1, y1 = (min(1.0, max(0.0, v)) * 100 for v in row.box_ratio)
        card["frame"] = [x0, y0, x1 - x0, y1 - y0]
    return card


def _thumbnail(data: bytes) -> str:
    """The image at most 224 px on its longer side, as a data URL."""
    image = load_image(data, exif=False)
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _render(out: Path, photos: list[list[dict[str, Any]]], n_rows: int, preset: str) -> str:
    import jinja2

    loader = jinja2.PackageLoader("attr_builder.building", "templates")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True)
    cards = [card for twins in photos for card in twins]
    found = {card["variant"] for card in cards}
    return environment.get_template("inspect.html.j2").render(
        name=out.resolve().name,
        photos=photos,
        n_cards=len(cards),
        n_rows=n_rows,
        preset=preset,
        variants=[variant for variant in VARIANTS if variant in found],
        surrounds=sorted({card["surround"] for card in cards if card["surround"]}),
    )
