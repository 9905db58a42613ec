"""The sets as they lie there, or the first samples of them, read without our own code."""

from __future__ import annotations

import csv
import hashlib
import itertools
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
_IMAGES_PER_SHARD = 1000
SHARDS = ("flickr8k_shards", "cc12m_shards")
NAMES = (*SHARDS, "scam", "grocery")
Key = tuple[str, str]


def prepare(name: str, data: Path, folder: Path, n_samples: int | None) -> Path:
    """The set itself, or a copy of about its first `n_samples` in `folder`."""
    if n_samples is None:
        return data / name
    out = folder / name
    out.mkdir(parents=True)
    if name in SHARDS:
        tars = sorted((data / name).glob("*.tar"))
        for tar in tars:
            _copy_tar(tar, out / tar.name, -(-n_samples // len(tars)))
    elif name == "scam":
        _copy_scam(data / name, out, n_samples // 2)
    else:
        rows = next(pq.ParquetFile(data / name / "val.parquet").iter_batches(n_samples))
        pq.write_table(pa.Table.from_batches([rows]), out / "val.parquet")
    return out


def _copy_tar(tar: Path, out: Path, n_samples: int) -> None:
    with tarfile.open(tar) as source, tarfile.open(out, "w") as target:
        by_key = itertools.groupby(source, lambda member: member.name.partition(".")[0])
        for _, members in itertools.islice(by_key, n_samples):
            for member in members:
                target.addfile(member, source.extractfile(member))


def _copy_scam(scam: Path, out: Path, n_photos: int) -> None:
    with (scam / "labels.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(itertools.islice(csv.reader(lines), n_photos + 1))
    with (out / "labels.csv").open("w", encoding="utf-8", newline="") as lines:
        csv.writer(lines).writerows(rows)
    for variant in ("SCAM", "NoSCAM"):
        (out / variant).mkdir()
        for row in rows[1:]:
            shutil.copy(scam / variant / f"{row[0]}.webp", out / variant)


def images_of(source: Path) -> dict[Key, str]:
    """SHA-256 of every image by (shard, key), in the order in which they are read."""
    if any(source.glob("*.tar")):
        tars = sorted(source.glob("*.tar"))
        return {(t.stem, key): digest for t in tars for key, digest in images_in_tar(t)}
    if any(source.glob("*.parquet")):
        return dict(_images_in_parquet(source))
    found = sorted(
        (path.relative_to(source) for path in source.rglob("*") if path.suffix in IMAGE_SUFFIXES),
        key=lambda path: path.as_posix(),
    )
    return {
        (f"{source.name}-{n // _IMAGES_PER_SHARD:05d}", str(path.with_suffix(""))): _digest(
            (source / path).read_bytes()
        )
        for n, path in enumerate(found)
    }


def images_in_tar(tar: Path) -> Iterator[tuple[str, str]]:
    """Key and SHA-256 of every image of a shard, in its order."""
    with tarfile.open(tar) as members:
        for member in members:
            if member.name.endswith(IMAGE_SUFFIXES):
                stored = members.extractfile(member)
                assert stored is not None
                yield member.name.rpartition(".")[0], _digest(stored.read())


def _images_in_parquet(source: Path) -> Iterator[tuple[Key, str]]:
    for path in sorted(source.glob("*.parquet")):
        numbers = itertools.count()
        for batch in pq.ParquetFile(path).iter_batches(100, columns=["image"]):
            for row in batch.column(0).to_pylist():
                yield (path.stem, f"{next(numbers):08d}"), _digest(row["bytes"])


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def copy_as_folders(grocery: Path, classes: Path, out: Path, n_photos: int) -> tuple[Path, Path]:
    """An ImageFolder of groceries, evenly spread, and its class list as `attr-builder` takes it."""
    with classes.open(encoding="utf-8", newline="") as lines:
        names = {int(row["label"]): row["name"] for row in csv.DictReader(lines)}
    class_list = out / "classes.csv"
    out.mkdir(parents=True)
    with class_list.open("w", encoding="utf-8", newline="") as lines:
        csv.writer(lines).writerows(
            [("wnid", "name", "label"), *((f"g{n:03d}", names[n], n) for n in sorted(names))]
        )
    rows = pq.read_table(grocery / "val.parquet")
    for number in range(0, rows.num_rows, -(-rows.num_rows // n_photos)):
        (row,) = rows.slice(number, 1).to_pylist()
        folder = out / "val" / f"g{row['label']:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:05d}.jpg").write_bytes(row["image"]["bytes"])
    return out / "val", class_list
