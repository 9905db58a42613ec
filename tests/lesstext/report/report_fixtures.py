"""Shards with drawn images and score tables with chosen ratios, without any detector."""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from lesstext.annotators.base import table_schema
from lesstext.annotators.text_area import TextArea
from lesstext.shards.fingerprint import fingerprint, sha256_of
from lesstext.shards.specs import ShardSource
from lesstext.shards.tar_reading import index_shard
from lesstext.storage.files import write_text
from lesstext.tables.table import Footer, TableWriter, stats_path, table_path

SIZE = (320, 200)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One sample to be written: a ratio, or a failure's status and error."""

    key: str
    ratio: float | None = 0.0
    status: str = "ok"
    error: str | None = None
    caption: str = "a plain caption"
    suffix: str = "jpg"


def scored_shard(
    folder: Path,
    name: str,
    samples: Sequence[Sample],
    *,
    regions: bool = True,
    problems: Sequence[str] = (),
) -> ShardSource:
    """Write FOLDER/shards/NAME.tar and FOLDER/scores/NAME.parquet with its stats."""
    source = write_shard(folder, name, samples)
    path = Path(source.location)
    entries = {entry.key: entry.image for entry in index_shard(path).samples}
    scores = folder / "scores"
    with TableWriter(table_path(scores, name), table_schema(TextArea(regions=regions))) as table:
        for sample in samples:
            member = entries[sample.key]
            assert member is not None
            table.add(_row(sample, member.offset, member.size, regions))
        counts = dict(Counter(sample.status for sample in samples))
        table.finish(
            Footer(
                shard=name,
                fingerprint=fingerprint(path),
                sha256=sha256_of(path),
                name="text_area",
                inputs={},
                annotator="drawn",
                settings={"max_pixels": 1_000_000, "regions": regions},
                counts=counts,
                problems=list(problems),
            )
        )
    seconds = {"decode": 1.0, "detect": 3.0, "total": 4.0}
    stats = {"shard": name, "samples": len(samples), "seconds": seconds}
    write_text(stats_path(scores, name), json.dumps(stats))
    return source


def words_table(
    folder: Path,
    source: ShardSource,
    samples: Sequence[Sample],
    words: Mapping[str, Sequence[str]],
) -> None:
    """Write FOLDER/words/NAME.parquet, which says what was read in the samples with these keys."""
    import pyarrow as pa

    region = [[10.0, 60.0, 90.0, 60.0, 90.0, 90.0, 10.0, 90.0]]
    base = [(name, pa.string()) for name in ("key", "uid", "status", "error")]
    word = pa.struct(
        [("text", pa.string()), ("score", pa.float32()), ("region", pa.list_(pa.float32()))]
    )
    schema = pa.schema([*base, ("words", pa.list_(word))])
    path = Path(source.location)
    with TableWriter(table_path(folder / "words", source.name), schema) as table:
        for sample in samples:
            found = [
                {"text": text, "score": 0.9, "region": region[0]}
                for text in words.get(sample.key, ())
            ]
            value = found if sample.status == "ok" else None
            table.add({"key": sample.key, "status": sample.status, "words": value})
        table.finish(
            Footer(
                shard=source.name,
                fingerprint=fingerprint(path),
                sha256=sha256_of(path),
                name="words",
                inputs={},
                annotator="read",
                settings={},
                counts=dict(Counter(sample.status for sample in samples)),
                problems=[],
            )
        )


def write_shard(folder: Path, name: str, samples: Sequence[Sample]) -> ShardSource:
    """Write a tar with an image, a caption and a json for each sample, sorted by suffix."""
    path = folder / "shards" / f"{name}.tar"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for number, sample in enumerate(samples):
            members = {
                sample.suffix: drawn_image(number, sample.suffix),
                "txt": sample.caption.encode(),
                "json": b'{"caption": "not this one"}',
            }
            for suffix, data in sorted(members.items()):
                info = tarfile.TarInfo(f"{sample.key}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return ShardSource(name, str(path))


def drawn_image(number: int, suffix: str = "jpg") -> bytes:
    """An image file whose colour depends on the number."""
    buffer = io.BytesIO()
    kind = "JPEG" if suffix == "jpg" else suffix.upper()
    Image.new("RGB", SIZE, (number * 7 % 256, number * 31 % 256, 90)).save(buffer, kind)
    return buffer.getvalue()


def spread(n_zero: int, n_text: int) -> list[Sample]:
    """Samples without text, and with text from 0.002 of the image upwards to 0.9, log-even."""
    without = [Sample(key=f"zero{i:04d}") for i in range(n_zero)]
    ratios = [0.002 * 450 ** (i / max(1, n_text - 1)) for i in range(n_text)]
    return without + [Sample(key=f"text{i:04d}", ratio=ratio) for i, ratio in enumerate(ratios)]


def _row(sample: Sample, offset: int, size: int, regions: bool) -> Mapping[str, Any]:
    row: dict[str, Any] = {"key": sample.key, "status": sample.status, "error": sample.error}
    row.update(image_offset=offset, image_size=size)
    if sample.status == "ok":
        has_text = bool(sample.ratio)
        row.update(text_area_ratio=sample.ratio, n_regions=int(has_text))
        row.update(width=SIZE[0], height=SIZE[1], max_region_ratio=(sample.ratio or 0.0) / 2)
        if regions:
            row["regions"] = [[10.0, 10.0, 90.0, 10.0, 90.0, 40.0, 10.0, 40.0]] if has_text else []
    return row
