"""Photos with alt-texts of which it is known what is true, as WebDataset shards.

An alt-text names three entities: the photo's own, a near miss (a neighbour in WordNet, or another
variety on the shelf) and a far one; a fifth of them name another far one in place of the true.
What is true stands beside the shards (`truth.parquet`), never in them.
"""

from __future__ import annotations

import csv
import io
import random
import re
import tarfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from lesstext.shards.tar_writing import end_archive, write_member
from lesstext.storage.files import atomic_path

TEMPLATES = (
    "{a}, {b} and {c}",
    "photo of {a} with {b} and {c}",
    "{a} | {b} | {c} - stock image",
    "{a} next to {b} ({c})",
    "how to tell {a} from {b} and {c}",
)
FALSE_SHARE = 0.2
FOREIGN_SHARE = 0.5  # of the far ones: an entity of the other set
N_NEAR = 4
SAMPLES_PER_SHARD = 1000
_SYNSET = re.compile(r"^(\d{8}-n):", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Entity:
    """One class of a set of photos; `group` is what its near misses share with it."""

    entity_id: str
    name: str
    description: str
    group: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Photos:
    """A set of labelled photos: `files` hold `image.bytes, label`, `entities` is by label."""

    entities: Sequence[Entity]
    files: Sequence[Path]

    def read(self) -> Iterator[tuple[bytes, Entity]]:
        import pyarrow.parquet as pq

        for path in self.files:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=256):
                    for row in batch.to_pylist():
                        yield row["image"]["bytes"], self.entities[row["label"]]


def tiny_imagenet(data: Path, *files: str) -> Photos:
    """Tiny-ImageNet; groups are paths of hypernyms in Open English WordNet."""
    synsets = _Synsets.read(data / "oewn")
    with (data / "tiny_imagenet" / "classes.csv").open(encoding="utf-8") as file:
        entities = [
            Entity(row["wnid"], row["name"], *synsets.describe(row["wnid"]))
            for row in csv.DictReader(file)
        ]
    return Photos(entities, [data / "tiny_imagenet" / f"{name}.parquet" for name in files])


def groceries(data: Path, known: Sequence[Entity], *files: str) -> Photos:
    """Groceries on their shelves; one whose name another set knows is that entity."""
    by_name = {entity.name.lower(): entity.entity_id for entity in known}
    with (data / "grocery" / "classes.csv").open(encoding="utf-8") as file:
        entities = [
            Entity(
                by_name.get(row["name"].lower(), f"grocery-{int(row['label']):02}"),
                row["name"],
                row["description"],
                (row["coarse"],),
            )
            for row in csv.DictReader(file)
        ]
    return Photos(entities, [data / "grocery" / f"{name}.parquet" for name in files])


class AltTexts:
    """Draws alt-texts for photos of a set; `others` are the entities of another one."""

    def __init__(self, entities: Sequence[Entity], others: Sequence[Entity], seed: int) -> None:
        self._entities, self._seed = entities, seed
        own = {entity.entity_id for entity in entities}
        self._foreign = [entity for entity in others if entity.entity_id not in own]
        self._near = {entity.entity_id: self._nearest(entity) for entity in entities}

    def draw(self, number: int, true: Entity) -> tuple[str, list[tuple[str, str]]]:
        """The alt-text of the photo of that number, and its entities with what they are."""
        rng = random.Random(f"{self._seed} {number}")
        named = self.names(rng, true)
        a, b, c = (entity.name for entity, _ in named)
        text = rng.choice(TEMPLATES).format(a=a, b=b, c=c)
        return text, [(entity.entity_id, kind) for entity, kind in named]

    def names(self, rng: random.Random, true: Entity) -> list[tuple[Entity, str]]:
        """Three entities that the alt-text of a photo names, with what they are, in any order."""
        named = [(rng.choice(self._near[true.entity_id]), "near")]
        named.append(self._far(rng, true))
        is_false = rng.random() < FALSE_SHARE
        named.append(self._far(rng, true, named[1][0]) if is_false else (true, "true"))
        rng.shuffle(named)
        return named

    def _far(
        self, rng: random.Random, true: Entity, but: Entity | None = None
    ) -> tuple[Entity, str]:
        is_foreign = rng.random() < FOREIGN_SHARE
        among = self._foreign if is_foreign else self._entities
        near = {true.entity_id, *(entity.entity_id for entity in self._near[true.entity_id])}
        while True:
            drawn = rng.choice(among)
            if drawn.entity_id in near or drawn is but or _shares_word(drawn.name, true.name):
                continue
            return drawn, "foreign" if is_foreign else "far"

    def _nearest(self, entity: Entity) -> list[Entity]:
        others = [other for other in self._entities if other.entity_id != entity.entity_id]
        others.sort(key=lambda other: (-_shared(entity.group, other.group), other.entity_id))
        return others[:N_NEAR]


def write_shards(out: Path, photos: Photos, texts: AltTexts, *, every: int = 1) -> None:
    """Write `out/shards/00000.tar`, … and `out/truth.parquet` (shard, key, entity_id, kind).

    Every so-many-th photo is taken.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    truth: list[dict[str, Any]] = []
    numbered = islice(enumerate(photos.read()), None, None, every)
    for shard, lot in lots(numbered):
        name = f"{shard:05}"
        with (
            atomic_path(out / "shards" / f"{name}.tar", unguarded=True) as partial,
            partial.open("wb") as tar,
        ):
            for number, (image, entity) in lot:
                key = f"{number:07}"
                text, named = texts.draw(number, entity)
                write_member(tar, f"{key}.jpg", image)
                write_member(tar, f"{key}.txt", text.encode())
                truth += [
                    {"shard": name, "key": key, "entity_id": entity_id, "kind": kind}
                    for entity_id, kind in named
                ]
            end_archive(tar)
    with atomic_path(out / "truth.parquet", unguarded=True) as partial:
        pq.write_table(pa.Table.from_pylist(truth), partial)


def lots(
    numbered: Iterator[tuple[int, tuple[bytes, Entity]]], size: int = SAMPLES_PER_SHARD
) -> Iterator[tuple[int, list[tuple[int, tuple[bytes, Entity]]]]]:
    """Numbered photos as (number of the shard, its photos), `size` at a time."""
    shard = 0
    while lot := list(islice(numbered, size)):
        yield shard, lot
        shard += 1


def _shared(mine: Sequence[str], theirs: Sequence[str]) -> int:
    """How far two paths from the root go together."""
    together = zip(mine, theirs, strict=False)
    return next((n for n, (a, b) in enumerate(together) if a != b), min(len(mine), len(theirs)))


def _shares_word(one: str, other: str) -> bool:
    return bool(set(one.lower().split()) & set(other.lower().split()))


@dataclass(frozen=True, slots=True)
class _Synsets:
    """Glosses and first hypernyms of the nouns of Open English WordNet, by its own ids."""

    glosses: Mapping[str, str]
    hypernyms: Mapping[str, str]
    by_offset: Mapping[str, str]

    @classmethod
    def read(cls, folder: Path) -> _Synsets:
        ilis: dict[str, str] = {}
        for line in (folder / "ili-map-pwn30.tab").read_text(encoding="utf-8").splitlines():
            ili, offset = line.split("\t")
            ilis[ili] = offset
        fields: dict[str, dict[str, str]] = defaultdict(dict)
        with tarfile.open(folder / "english-wordnet-src.tar.xz") as tar:
            for member in tar:
                if re.search(r"/noun\.\w+\.yaml$", member.name):
                    file = tar.extractfile(member)
                    assert file is not None
                    for synset, part in _entries(io.TextIOWrapper(file, "utf-8").read()):
                        fields[synset] = part
        return cls(
            {synset: part["definition"] for synset, part in fields.items()},
            {s: part["hypernym"] for s, part in fields.items() if "hypernym" in part},
            {ilis[part["ili"]]: s for s, part in fields.items() if part.get("ili") in ilis},
        )

    def describe(self, wnid: str) -> tuple[str, tuple[str, ...]]:
        """The gloss, and the path of hypernyms from the root; raises KeyError for a foreign id."""
        place = self.by_offset[f"{wnid[1:]}-n"]
        gloss, path = self.glosses[place], [place]
        while path[-1] in self.hypernyms:
            path.append(self.hypernyms[path[-1]])
        return gloss, tuple(reversed(path))


def _entries(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Each synset's id with its gloss, first hypernym and interlingual id."""
    parts = _SYNSET.split(text)[1:]
    for synset, body in zip(parts[::2], parts[1::2], strict=True):
        found: dict[str, str] = {}
        for field in ("definition", "hypernym"):
            listed = re.search(rf"^  {field}:\n  - (.+(?:\n    .+)*)", body, re.MULTILINE)
            if listed is not None:
                found[field] = " ".join(listed[1].split()).strip("'\"")
        ili = re.search(r"^  ili: (\S+)", body, re.MULTILINE)
        if ili is not None:
            found["ili"] = ili[1]
        yield synset, found
