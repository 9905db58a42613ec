"""Measure what entities cost: a dump of Wikidata converted, and captions matched.

    python scripts/benchmarks/bench_entities.py dump  --items 1000000 --folder FOLDER
    python scripts/benchmarks/bench_entities.py match --captions wikipedia.csv --folder FOLDER

Names are drawn from syllables by a seed, so that nothing has to be fetched. `match` builds a
knowledge base of 2 million aliases and times its parts per CPU-second of one process; memory is
what all workers hold together, pages that they share counted once (PSS).
"""

from __future__ import annotations

import argparse
import bz2
import csv
import json
import multiprocessing
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from lesstext.entities.alias_index import AliasIndex
from lesstext.entities.index_cache import open_index
from lesstext.entities.kb_writing import write_kb
from lesstext.entities.knowledge_base import Entity, open_kb
from lesstext.entities.linking import disambiguate, link
from lesstext.entities.making import KbConfig, make_kb
from lesstext.entities.tagging import DEFAULT_MODELS, Spacy, find_model
from lesstext.entities.words import words_of

SYLLABLES = (
    "ba ko ri tan lu mer sol vi do nar eth qui pol shen ga or zim fa lin ost".split()  # noqa: SIM905
)
BILLION = 1_000_000_000
SEED = 7


@dataclass(frozen=True, slots=True)
class Measured:
    """One figure: how many captions in a CPU-second, and what a billion of them take."""

    part: str
    captions_per_cpu_s: float

    @property
    def cpu_h_per_billion(self) -> float:
        return BILLION / self.captions_per_cpu_s / 3600


def name(rng: random.Random) -> str:
    """One to three made-up words, in capitals as names are, or small as common nouns are."""
    words = ["".join(rng.choices(SYLLABLES, k=rng.randint(2, 4))) for _ in range(rng.randint(1, 3))]
    return " ".join(words).title() if rng.random() < 0.7 else " ".join(words)


def dump_lines(n_items: int) -> Iterator[str]:
    """A dump in Wikidata's shape: classes first, then items, every thousandth line damaged."""
    rng = random.Random(SEED)
    yield "[\n"
    for number in range(1, n_items + 1):
        if number % 1000 == 999:
            yield '{"type":"item","id":"Q' + str(number) + '","labels":{"en":\n'
            continue
        yield json.dumps(item(number, rng), separators=(",", ":")) + ",\n"
    yield "]\n"


def item(number: int, rng: random.Random) -> dict[str, object]:
    """An item: one in fifty a class, below that of half its number, at last below Q5 or nothing."""
    text = name(rng)
    claims: dict[str, object] = {"P18": [{"mainsnak": {"snaktype": "novalue"}, "rank": "normal"}]}
    if number % 50 == 0:
        claims["P279"] = [statement({50: 5, 100: 35120}.get(number, number // 100 * 50))]
    else:
        claims["P31"] = [statement(rng.randrange(50, 20_000, 50))]
    sites = {f"{code}wiki": {"title": text} for code in rng.sample(SYLLABLES, rng.randint(0, 9))}
    other = {code: {"language": code, "value": f"{text} {code}"} for code in ("de", "fr", "ru")}
    return {
        "type": "item",
        "id": f"Q{number}",
        "labels": {"en": {"language": "en", "value": text}, **other},
        "descriptions": {"en": {"language": "en", "value": f"made-up thing {number}"}},
        "aliases": {"en": [{"language": "en", "value": name(rng)}]} if number % 2 else [],
        "claims": claims,
        "sitelinks": sites or [],
    }


def statement(target: int) -> dict[str, object]:
    value = {"entity-type": "item", "numeric-id": target, "id": f"Q{target}"}
    snak = {"snaktype": "value", "datavalue": {"value": value, "type": "wikibase-entityid"}}
    return {"mainsnak": snak, "type": "statement", "rank": "normal"}


def bench_dump(args: argparse.Namespace) -> dict[str, object]:
    """Convert a dump of so many items, and watch this process and its workers meanwhile."""
    dump = args.folder / f"dump-{args.items}.json.bz2"
    if not dump.exists():
        with bz2.open(dump, "wt", encoding="utf-8", compresslevel=1) as file:
            file.writelines(dump_lines(args.items))
    memory = PeakMemory()
    with memory:
        started = time.perf_counter()
        origin = make_kb(
            KbConfig(
                source=str(dump),
                out=args.folder / f"dump-{args.items}.parquet",
                format="wikidata",
                workers=args.workers,
            )
        )
        wall_s = time.perf_counter() - started
    return {
        "dump_bytes": dump.stat().st_size,
        "workers": args.workers,
        "counts": dict(origin.counts),
        "wall_s": round(wall_s, 1),
        "items_per_s": round(args.items / wall_s),
        "peak_pss_bytes": memory.peak_bytes,
    }


class PeakMemory:
    """The most that this process and its children hold together, looked at twice a second."""

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.5):
            self.peak_bytes = max(self.peak_bytes, held_bytes())


def held_bytes() -> int:
    """The PSS of this process and its children."""
    me = psutil.Process()
    total = 0
    for process in [me, *me.children(recursive=True)]:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total


def bench_match(args: argparse.Namespace) -> dict[str, object]:
    """Time the parts on real captions, again and again, with 2 million aliases."""
    path = args.folder / f"aliases-{args.aliases}.parquet"
    if not path.exists():
        write_kb(
            made_up(args.aliases),
            path,
            format="table",
            source="made up",
            version="1",
            counts=Counter(),
        )
    os.environ["LESSTEXT_CACHE"] = str(args.folder / "cache")
    building = PeakMemory()
    with building:
        started = time.process_time()
        index = open_index(open_kb(path))
        build_s = time.process_time() - started
    with args.captions.open(encoding="utf-8") as file:
        captions = [row["caption"] for row in csv.DictReader(file)]
    parts = [
        asdict(one) | {"cpu_h_per_billion": one.cpu_h_per_billion}
        for one in measured_parts(index, captions)
    ]
    return {
        "aliases": args.aliases,
        "index_bytes": next((args.folder / "cache").glob("*.arrow")).stat().st_size,
        "build_cpu_s": round(build_s, 1),
        "build_peak_pss_bytes": building.peak_bytes,
        "characters_per_caption": sum(map(len, captions)) / len(captions),
        "parts": parts,
        "workers": args.workers,
        "workers_pss_bytes": workers_memory(path, captions, args.workers),
    }


def made_up(n_aliases: int) -> Iterator[Entity]:
    """Entities with two aliases each, half of them with types in common."""
    rng = random.Random(SEED)
    for number in range(n_aliases // 2):
        first = name(rng)
        yield Entity(
            entity_id=f"Q{number}",
            name=first,
            aliases=[first, f"{name(rng)} {number % 1000}" if number % 3 == 0 else name(rng)],
            prior=rng.random(),
            types=[f"Q{number % 997}"],
            depictable=True,
        )


def measured_parts(index: AliasIndex, captions: list[str]) -> Iterator[Measured]:
    batches = [captions[start : start + 512] for start in range(0, len(captions), 512)]
    yield timed("matching", batches, lambda batch: index.find(words_of(batch)), 20)

    def linked(batch: list[str]) -> None:
        by_text: dict[int, list[object]] = {}
        for mention in link(index, batch, None):
            by_text.setdefault(mention.text, []).append(mention)
        for mentions in by_text.values():
            disambiguate(index, mentions)  # type: ignore[arg-type]

    yield timed("matching, rules, linking", batches, linked, 5)
    model = find_model("auto")
    if model is None:
        print(f"no spaCy model ({', '.join(DEFAULT_MODELS)}): tagger and NER are not timed")
        return
    yield timed("tagger", batches, Spacy(model, nouns=True, names=False).say, 1)
    yield timed("tagger and NER", batches, Spacy(model, nouns=True, names=True).say, 1)


def timed(
    part: str, batches: list[list[str]], action: Callable[[list[str]], object], n_times: int
) -> Measured:
    action(batches[0])
    started = time.process_time()
    for _ in range(n_times):
        for batch in batches:
            action(batch)
    seconds = time.process_time() - started
    return Measured(part, n_times * sum(map(len, batches)) / seconds)


def workers_memory(path: Path, captions: list[str], n_workers: int) -> int:
    """What so many processes that have matched all captions hold together."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(n_workers) as pool:
        pool.starmap(_match_all, [(path, captions)] * n_workers, chunksize=1)
        return held_bytes() - psutil.Process().memory_full_info().pss


def _match_all(path: Path, captions: list[str]) -> int:
    index = open_index(open_kb(path))
    n_found = len(index.find(words_of(captions))[0])
    time.sleep(1.0)  # so that each worker gets one
    return n_found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    dump = verbs.add_parser("dump")
    dump.add_argument("--items", type=int, default=1_000_000)
    match = verbs.add_parser("match")
    match.add_argument("--captions", type=Path, required=True)
    match.add_argument("--aliases", type=int, default=2_000_000)
    for verb in (dump, match):
        verb.add_argument("--folder", type=Path, required=True)
        verb.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    found = bench_dump(args) if args.verb == "dump" else bench_match(args)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
