"""`lesstext` over one set: filter, select, export, report, verify, and the same from Python."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import webdataset as wds

import lesstext
from walk.inputs import Key, images_in_tar, images_of
from walk.said import Ledger, Said, run

DEFAULT, WIDER, WIDEST = 0.005, 0.02, 0.1
_COUNTS = r"(\d+) read = (\d+) kept \+ (\d+) dropped \+ (\d+) failed"
Row = Mapping[str, Any]


@dataclass
class SetWalk:
    """One set, the folder that everything of it is written into, and what was found so far."""

    name: str
    source: Path
    folder: Path
    ledger: Ledger
    detection: Sequence[str]
    images: dict[Key, str] = field(init=False)
    rows: dict[Key, Row] = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        self.images = images_of(self.source)

    @property
    def scores(self) -> Path:
        return self.folder / "clean" / "scores"

    def run(self, *args: object) -> Said:
        return run("lesstext", *args, cwd=self.folder)

    def same(self, what: str, said: object, found: object) -> None:
        self.ledger.same(f"{self.name}, {what}", said, found)

    def kept_at(self, threshold: float) -> set[Key]:
        return {
            key
            for key, row in self.rows.items()
            if row["status"] == "ok" and row["text_area_ratio"] <= threshold
        }

    @property
    def n_failed(self) -> int:
        return sum(row["status"] != "ok" for row in self.rows.values())


def walk(of: SetWalk) -> None:
    """Every step of docs/filtering.md, in its order."""
    _filter(of)
    _filter_again(of)
    _select(of)
    _select_by_share(of)
    _select_with_metadata(of)
    _export(of)
    _report(of)
    _verify(of)
    _from_python(of)


def _filter(of: SetWalk) -> None:
    said = of.run("filter", of.source, "--out", "clean", *of.detection)
    of.rows = rows_of(of.scores)
    statuses = Counter(str(row["status"]) for row in of.rows.values())
    of.same("samples with a row", len(of.rows), len(of.images))
    of.same("their shards and keys", list(of.rows), list(of.images))
    n_shards = len({shard for shard, _ in of.images})
    shards = said.ints(r"^shards: (\d+) in all, (\d+) done before, (\d+) to do")
    of.same("shards", shards, (n_shards, 0, n_shards))
    summary = said.ints(r"^samples: (\d+) read = (\d+) ok \+ (\d+) failed")
    of.same("samples", summary, (len(of.images), statuses["ok"], of.n_failed))
    told = {status: int(n) for status, n in re.findall(r"^  (\w+): (\d+)$", said.out, re.M)}
    of.same("failures", told, {s: n for s, n in statuses.items() if s != "ok"})
    _progress(of, said)
    _busy(of, said)
    _filtered(of, said, DEFAULT)


def _progress(of: SetWalk, said: Said) -> None:
    """The lines on stderr, one for each shard."""
    shown = dict(re.findall(r"^\[\d+/\d+\] shard (\S+): (.+?) \(\d+/", said.err, re.M))
    found: dict[str, Counter[str]] = {shard: Counter() for shard, _ in of.rows}
    for (shard, _), row in of.rows.items():
        found[shard][row["status"]] += 1
    as_counts = {
        shard: {status: int(n) for n, status in re.findall(r"(\d+) (\w+)", line)}
        for shard, line in shown.items()
    }
    of.same("shards as they were finished", as_counts, found)


def _busy(of: SetWalk, said: Said) -> None:
    """Within 1.5 points: the stats are written a moment before the shard is finished."""
    seconds: Counter[str] = Counter()
    for path in of.scores.rglob("*_stats.json"):
        seconds.update(json.loads(path.read_text("utf-8"))["seconds"])
    for stage, percent in re.findall(r"(\w+) (\d+)%", said.texts(r"^busy: (.*)")[0]):
        share = 100 * seconds[stage] / seconds["total"]
        of.ledger.near(f"{of.name}, busy with {stage}", float(percent), share, 1.5)


def _filtered(of: SetWalk, said: Said, threshold: float) -> None:
    """What `filter` says of its selection and shards."""
    kept, clean = of.kept_at(threshold), of.folder / "clean"
    _counts(of, said, r"clean/selection.parquet: ", kept)
    of.same("rule", said.texts(r"rule: text_area_ratio <= (\S+)"), (f"{threshold:g}",))
    _selection(of, clean / "selection.parquet", kept)
    _exported(of, said, clean / "shards", kept)
    of.same("page", said.texts("^report: (.*)"), ("clean/report.html",))
    _page(of, clean / "report.html", kept)


def _filter_again(of: SetWalk) -> None:
    """With another rule nothing is detected again, and all else is replaced."""
    before = {path: path.stat().st_mtime_ns for path in of.scores.rglob("*.parquet")}
    said = of.run("filter", of.source, "--out", "clean", "--max-text-area", WIDER, *of.detection)
    shards = said.ints(r"^shards: (\d+) in all, (\d+) done before, (\d+) to do")
    of.same("shards done before", shards, (len(before), len(before), 0))
    after = {path: path.stat().st_mtime_ns for path in of.scores.rglob("*.parquet")}
    of.same("tables as they were", after, before)
    _filtered(of, said, WIDER)


def _select(of: SetWalk) -> None:
    also = ("--also", "keys.csv,keys.txt")
    said = of.run(
        "select", "clean/scores", "--out", "keep.parquet", "--max-text-area", WIDEST, *also
    )
    kept = of.kept_at(WIDEST)
    _counts(of, said, "^keep.parquet: ", kept)
    _selection(of, of.folder / "keep.parquet", kept)
    with (of.folder / "keys.csv").open(encoding="utf-8", newline="") as lines:
        of.same("keys.csv", {(r["shard"], r["key"]) for r in csv.DictReader(lines)}, kept)
    lines_of_keys = (of.folder / "keys.txt").read_text("utf-8").splitlines()
    of.same("keys.txt", set(lines_of_keys), {f"{shard}/{key}" for shard, key in kept})


def _select_by_share(of: SetWalk) -> None:
    rule = ("--keep-fraction", 0.5, "--control", "random", "--seed", 1)
    said = of.run("select", "clean/scores", "--out", "half.parquet", *rule)
    kept = _keys(of.folder / "half.parquet")
    ok = [key for key, row in of.rows.items() if row["status"] == "ok"]
    of.ledger.near(f"{of.name}, half", len(kept), len(ok) / 2, 0.5)
    _counts(of, said, "^half.parquet: ", kept)
    _counts(of, said, "^half.control.parquet: ", _keys(of.folder / "half.control.parquet"))
    ratios = sorted(of.rows[key]["text_area_ratio"] for key in ok)[: len(kept)]
    of.same("ratios", sorted(of.rows[key]["text_area_ratio"] for key in kept), ratios)
    said_cut = said.texts("rule: the lowest 0.5 by text_area_ratio: at most (.+)")
    of.same("the highest kept", said_cut, (f"{max(ratios):g}",))


def _select_with_metadata(of: SetWalk) -> None:
    """The sidecars of what `filter` kept as metadata: a row for those, none for the others."""
    where = f"meta.text_area_ratio <= {DEFAULT}"
    joining = ("--metadata", "clean/shards", "--where", where)
    said = of.run("select", "clean/scores", "--out", "joined.parquet", *joining)
    with_row, n_ok = len(of.kept_at(WIDER)), len(of.rows) - of.n_failed
    _counts(of, said, "^joined.parquet: ", of.kept_at(DEFAULT))
    told = r": (\d+) samples have a row, (\d+) have none; (\d+) rows belong to no sample"
    found = (with_row, len(of.rows) - with_row, 0)
    of.same("join with metadata", said.ints("metadata" + told), found)
    table = said.ints("text_area" + told + r"; (\d+) are ok in it")
    of.same("join with the table", table, (len(of.rows), 0, 0, n_ok))


def _export(of: SetWalk) -> None:
    options = ("--carry", "clean/scores:width,height", "--samples-per-shard", 25)
    said = of.run("export", of.source, "--selection", "keep.parquet", "--out", "kept", *options)
    kept = of.kept_at(WIDEST)
    _exported(of, said, of.folder / "kept", kept)
    joined = said.ints(r"scores: (\d+) of the kept samples have a row, (\d+) have none")
    of.same("carried", joined, (len(kept), 0))
    sizes = sorted((r["width"], r["height"]) for r in _sidecars(of.folder / "kept"))
    expected = sorted((of.rows[key]["width"], of.rows[key]["height"]) for key in kept)
    of.same("carried sizes", sizes, expected)


def _exported(of: SetWalk, said: Said, shards: Path, kept: set[Key]) -> None:
    """Shards hold the kept images, in order and unchanged, and sidecars their ratios."""
    tars = sorted(shards.rglob("*.tar"))
    shown = shards.relative_to(of.folder)
    counts = said.ints(rf"^{shown}: (\d+) samples in (\d+) shards")
    of.same("exported", counts, (len(kept), len(tars)))
    sizes = json.loads((shards / "sizes.json").read_text("utf-8"))
    by_tar = {tar.relative_to(shards).as_posix(): list(images_in_tar(tar)) for tar in tars}
    of.same("sizes.json", sizes, {name: len(images) for name, images in by_tar.items()})
    written = [image for images in by_tar.values() for image in images]
    wanted = [(key[1], digest) for key, digest in of.images.items() if key in kept]
    of.same("images in the shards", written, wanted)
    ratios = [row[_ours(row, "text_area_ratio")] for row in _sidecars(shards)]
    of.same("sidecars", ratios, [of.rows[k]["text_area_ratio"] for k in of.rows if k in kept])


def _report(of: SetWalk) -> None:
    of.run("report", "clean/scores", "--shards", of.source, "--out", "report.html")
    _page(of, of.folder / "report.html", of.kept_at(DEFAULT))


def _page(of: SetWalk, path: Path, kept: set[Key]) -> None:
    page = path.read_text("utf-8")
    text = re.sub(r"\s+", " ", re.sub("<[^>]+>", "", page)).replace(",", "")
    found = re.search(_COUNTS, text)
    assert found is not None
    of.same("report", tuple(map(int, found.groups())), _accounting(of, kept))
    stored = re.search(r'id="data">(.*?)</script>', page, re.S)
    assert stored is not None
    data = json.loads(stored[1])
    samples = data["samples"]
    of.same("under the curve", data["atOrBelow"][-1], len(of.rows) - of.n_failed)
    of.same("pictures", len(samples["key"]), min(len(of.rows), 5000))
    for number, key, ratio in zip(samples["shard"], samples["key"], samples["ratio"], strict=True):
        row = of.rows[samples["shards"][number], key]
        what = f"{of.name}, ratio of {key} in the report"
        of.ledger.near(what, ratio, row["text_area_ratio"], 1e-7)


def _verify(of: SetWalk) -> None:
    said = of.run("verify", of.source, "--scores", "clean/scores", "--full")
    shards = Counter(shard for shard, _ in of.images)
    told = {name: int(n) for name, n in re.findall(r"^(\S+): (\d+) samples, ok$", said.out, re.M)}
    of.same("verified", told, dict(shards))
    of.same("problems", said.ints(r"^(\d+) shards, (\d+) with problems"), (len(shards), 0))


def _from_python(of: SetWalk) -> None:
    """What docs/python.md reads back, and WebDataset itself."""
    kept = of.kept_at(WIDEST)
    of.same("read_tables", lesstext.read_tables(of.scores, ["key"]).num_rows, len(of.rows))
    opened = sum(1 for _ in lesstext.open_samples(str(of.folder / "kept")))
    of.same("open_samples", opened, len(kept))
    tars = [str(path) for path in sorted((of.folder / "kept").glob("*.tar"))]
    read = wds.WebDataset(tars, shardshuffle=False, empty_check=False) if tars else ()
    of.same("read by WebDataset", sum(1 for _ in read), len(kept))


def rows_of(tables: Path) -> dict[Key, Row]:
    """The rows of a folder of tables by (shard, key), in the order in which they stand."""
    return {
        (path.relative_to(tables).with_suffix("").as_posix(), row["key"]): row
        for path in sorted(tables.rglob("*.parquet"))
        for row in pq.read_table(path).to_pylist()
    }


def _counts(of: SetWalk, said: Said, before: str, kept: set[Key]) -> None:
    of.same(f"counts {before}", said.ints(before + _COUNTS), _accounting(of, kept))


def _accounting(of: SetWalk, kept: set[Key]) -> tuple[int, int, int, int]:
    n_read = len(of.images)
    return n_read, len(kept), n_read - len(kept) - of.n_failed, of.n_failed


def _selection(of: SetWalk, path: Path, kept: set[Key]) -> None:
    of.same(f"rows of {path.name}", _keys(path), kept)
    for row in pq.read_table(path).to_pylist():
        measured = of.rows[row["shard"], row["key"]]
        told = row["text_area_ratio"], row["n_regions"]
        found = measured["text_area_ratio"], measured["n_regions"]
        of.same(f"{row['key']} in {path.name}", told, found)


def _keys(selection: Path) -> set[Key]:
    return {(row["shard"], row["key"]) for row in pq.read_table(selection).to_pylist()}


def _sidecars(shards: Path) -> list[Row]:
    return [
        row for path in sorted(shards.rglob("*.parquet")) for row in pq.read_table(path).to_pylist()
    ]


def _ours(row: Row, name: str) -> str:
    """Our column takes a prefix where the input has one of its name."""
    return f"lesstext_{name}" if f"lesstext_{name}" in row else name
