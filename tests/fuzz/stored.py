"""Targets `tables`, `selections` and `settings`: what is read back is damaged in one of many ways.

Each comes to an error, or to what the sound artefact comes to; never to something between.
"""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow.parquet as pq

from attr_builder.building.stored import load_painter
from lesstext.report import write_report
from lesstext.shards.specs import expand_specs
from lesstext.tables.rule import Rule
from lesstext.tables.selecting import select
from lesstext.tables.selection import Selection, read_selection
from lesstext.verify import verify_shards
from tests.fuzz.artefacts import (
    RULE,
    damage_json,
    damage_parquet,
    put,
    read_tree,
    score,
    sound,
    write_shards,
)
from tests.fuzz.case import Case, check
from tests.lesstext.builders import read_tar

_TABLES = ("scores/a/0.parquet", "scores/b.parquet")
_RECIPE = (
    b'{"format_version": 1, "recipe": {"attacks_per_image": 1, "controls": ["none"], "keep_noops":'
    b' false, "preset": "visible", "render": {"box": "auto", "box_color": "auto", "color": "auto",'
    b' "encoding": "jpeg", "exif": true, "fit": true, "font": null, "min_contrast": 4.5,'
    b' "min_size_ratio": 0.06, "placement": "crop", "quality": 75, "size": "10%", "stroke": "auto",'
    b' "stroke_color": "auto"}, "seed": 0, "strategy": "random"}}'
)


def fuzz_tables(case: Case) -> str:
    """Damaged tables: rules over them, or scoring again into their folder."""
    damaged = {**sound()}
    for name in case.rng.sample(_TABLES, case.rng.choice([1, 1, 2])):
        damaged[name] = damage_parquet(case.rng, damaged[name], b"lesstext")
    put(sound(), "shards/", case.inputs)
    if case.rng.random() < 0.4:
        return _score_again(case, damaged)
    put(damaged, "scores/", case.inputs)
    case.seal()
    list(
        verify_shards(
            expand_specs([str(case.inputs / "shards")]), tables=case.inputs / "scores", full=True
        )
    )
    keep = case.out / "keep.parquet"
    selection = select(case.inputs / "scores", keep, _any_rule(case.rng))
    rows = pq.read_table(keep).to_pylist()
    counts = selection.counts
    check(counts.read == counts.kept + counts.dropped + counts.failed, "accounting", f"{counts}")
    check(counts.kept == len(rows), "accounting", f"{counts}, {len(rows)} rows")
    n_rows = sum(pq.read_metadata(case.inputs / name).num_rows for name in _TABLES)
    check(counts.read == n_rows, "accounting", f"{counts} of {n_rows} rows")
    _export(case, selection)
    write_report(
        case.inputs / "scores",
        expand_specs([str(case.inputs / "shards")]),
        case.out / "report.html",
        max_text_area=0.3,
    )
    return "selected"


def fuzz_selections(case: Case) -> str:
    """A damaged selection: an error, or an export of the rows that it has."""
    data = damage_parquet(case.rng, sound()["keep.parquet"], b"lesstext_selection")
    put({**sound(), "keep.parquet": data}, "", case.inputs)
    case.seal()
    return _export(case, read_selection(case.inputs / "keep.parquet"))


def fuzz_settings(case: Case) -> str:
    """Damaged settings, stats, markers and recipes beside sound results."""
    files = sound()
    if case.rng.random() < 0.15:
        (case.inputs / "recipe.json").write_bytes(damage_json(case.rng, _RECIPE))
        case.seal()
        load_painter(case.inputs)
        return "recipe"
    where = case.rng.choice(["scores/", "kept/"])
    texts = [name for name in files if name.startswith(where) and name.endswith(".json")]
    damaged = {name: damage_json(case.rng, files[name]) for name in case.rng.sample(texts, 1)}
    put(files, "shards/", case.inputs)
    put(files, "keep", case.inputs)
    case.seal()
    if where == "scores/":
        return _score_again(case, {**files, **damaged})
    put({**files, **damaged}, "kept/", case.out)
    summary = write_shards(case.inputs / "shards", case.inputs / "keep.parquet", case.out / "kept")
    check(not summary.failed, "lost", f"{summary.failed}")
    _compare(case.out, "kept/", ".tar")
    return "exported"


def _score_again(case: Case, damaged: dict[str, bytes]) -> str:
    """Scoring into the folder makes the sound tables again, byte for byte, or refuses."""
    put(damaged, "scores/", case.out)
    case.seal()
    summary = score(case.inputs / "shards", case.out / "scores")
    check(not summary.failed, "lost", f"{summary.failed}")
    _compare(case.out, "scores/", ".parquet")
    write_report(
        case.out / "scores",
        expand_specs([str(case.inputs / "shards")]),
        case.out / "report.html",
        max_text_area=0.3,
    )
    return "scored"


def _compare(folder: Path, start: str, suffix: str) -> None:
    found = {n: d for n, d in read_tree(folder) if n.startswith(start) and n.endswith(suffix)}
    wanted = {n: d for n, d in sound().items() if n.startswith(start) and n.endswith(suffix)}
    differing = sorted(n for n in found.keys() | wanted.keys() if found.get(n) != wanted.get(n))
    check(not differing, "falsified", f"other bytes than before: {differing}")


def _export(case: Case, selection: Selection) -> str:
    """What is exported without an error is what the selection's rows say, and nothing else."""
    assert isinstance(selection.path, Path)
    summary = write_shards(case.inputs / "shards", selection.path, case.out / "shards")
    if summary.failed:
        return "failed shards"
    kept = pq.read_table(selection.path).to_pylist()
    check(summary.n_samples == len(kept), "accounting", f"{summary.n_samples} of {len(kept)}")
    for shard in {row["shard"] for row in kept}:
        keys = [row["key"] for row in kept if row["shard"] == shard]
        members = read_tar(case.out / f"shards/{shard}.tar")
        written = list(dict.fromkeys(name.partition(".")[0] for name, _ in members))
        check(written == keys, "export", f"{shard}: {written[:5]}, selected {keys[:5]}")
    return "exported"


def _any_rule(rng: random.Random) -> Rule:
    fraction = Rule(keep_fraction=rng.random(), by="text_area_ratio", highest=rng.random() < 0.5)
    others = [
        Rule(where="width > 3 and n_regions < 5", keep_failed=True),
        Rule(where="uid is null"),
    ]
    return rng.choice([RULE, RULE, fraction, *others])
