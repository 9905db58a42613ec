"""Photos whose class is known, with the alt-texts that a crawl might find beside them.

Writes below OUT: `train/` (shards), `truth.parquet` (what each photo shows and where that is said;
no command reads it), `heldout/` (photos of the classes trained on, by wnid) with `classes.csv`,
and `unseen/` (photos of other classes).
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from entities.alt_texts import N_NEAR, AltTexts, Entity, Photos, lots

from attr_builder.labelled_images.classes import ClassList, write_class_list
from lesstext.entities.knowledge_base import KnowledgeBase
from lesstext.errors import UsageError
from lesstext.shards.tar_writing import end_archive, write_member
from lesstext.storage.files import atomic_path, write_text

TEMPLATES = (
    "{listed}",
    "photo of {listed}",
    "{bars} - stock image",
    "{first} next to {others}",
    "how to tell {first} from {others}",
)
DESCRIPTIONS = ("In this picture: {name}.", "{name}, seen on a trip.", "A closer look: {name}.")
HYPERNYM_SHARE = 0.5
# Of the alt-texts that would name what is shown: there the name stands in the description alone.
DESCRIPTION_SHARE = 0.15
N_FOREIGN = 300
ALT, DESCRIPTION, NOWHERE = "alt-text", "description", "nowhere"
_DONE = "corpus.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class CorpusConfig:
    """How many classes are trained on, how many others are not seen (None: all), and how many
    photos of each class go where (None: all)."""

    n_trained: int
    n_unseen: int | None = None
    photos_per_class: int | None = None
    heldout_photos: int
    unseen_photos: int
    samples_per_shard: int = 500
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Text:
    """What stands beside a photo, and where it names what the photo shows."""

    alt: str
    description: str | None
    says: str


class NoisyTexts:
    """Alt-texts of three names or two, in half of them also the hypernym of what is shown; a name
    that is left out for it stands in the description."""

    def __init__(
        self,
        entities: Sequence[Entity],
        foreign: Sequence[Entity],
        hypernyms: Mapping[str, str],
        seed: int,
    ) -> None:
        self._texts = AltTexts(entities, foreign, seed)
        self._hypernyms, self._seed = hypernyms, seed

    def draw(self, number: int, true: Entity) -> Text:
        """The texts of the photo of that number."""
        rng = random.Random(f"{self._seed} {number} texts")
        named = self._texts.names(rng, true)
        says = ALT if any(kind == "true" for _, kind in named) else NOWHERE
        if says == ALT and rng.random() < DESCRIPTION_SHARE:
            says = DESCRIPTION
            named = [(entity, kind) for entity, kind in named if kind != "true"]
        names = [entity.name for entity, _ in named]
        if rng.random() < HYPERNYM_SHARE:
            names.insert(rng.randrange(len(names) + 1), self._hypernyms[true.entity_id])
        alt = rng.choice(TEMPLATES).format(
            listed=_listed(names),
            bars=" | ".join(names),
            first=names[0],
            others=_listed(names[1:]),
        )
        hidden = rng.choice(DESCRIPTIONS).format(name=true.name)
        return Text(alt, hidden if says == DESCRIPTION else None, says)


def make_corpus(
    train: Photos, val: Photos, kb: KnowledgeBase, out: Path, config: CorpusConfig
) -> None:
    """Write the corpus of these photos into `out`; a corpus that is complete is left as it is."""
    if (out / _DONE).exists():
        return
    if config.n_trained < N_NEAR + 3:
        raise UsageError(f"{config.n_trained} classes have no names that are far from each other")
    trained, unseen = divide(train.entities, kb, config)
    texts = NoisyTexts(trained, foreign(train.entities, kb, config), hypernyms(trained, kb), 0)
    wanted = _take(train, trained, config.photos_per_class)
    random.Random(f"{config.seed} order").shuffle(wanted)
    _write_shards(out, wanted, texts, config)
    held = _take(val, trained, config.heldout_photos)
    _write_folders(out / "heldout", [(image, entity.entity_id) for image, entity in held])
    others = Photos(train.entities, [*val.files, *train.files])
    away = _take(others, unseen, config.unseen_photos)
    _write_folders(out / "unseen", [(image, entity.name) for image, entity in away])
    classes = ClassList(tuple(e.entity_id for e in trained), tuple(e.name for e in trained))
    write_text(out / "classes.csv", write_class_list(classes), unguarded=True)
    counts = {"train": len(wanted), "heldout": len(held), "unseen": len(away)}
    ids = {entity.entity_id: kb_id(entity) for entity in trained}
    summary = {"settings": asdict(config), "photos": counts, "entities": ids}
    write_text(out / _DONE, json.dumps(summary, indent=2) + "\n", unguarded=True)


def kb_id(entity: Entity) -> str:
    """An entity's id in the knowledge base: the last of its path of hypernyms."""
    return entity.group[-1]


def divide(
    entities: Sequence[Entity], kb: KnowledgeBase, config: CorpusConfig
) -> tuple[list[Entity], list[Entity]]:
    """The classes trained on, drawn among those that the knowledge base knows by their name, and
    the unseen ones, drawn among all others; in their own order."""
    rows = kb.entities([kb_id(entity) for entity in entities])
    known = [
        entity
        for entity, row in zip(entities, rows, strict=True)
        if row is not None and entity.name in row.aliases
    ]
    rng = random.Random(f"{config.seed} classes")
    trained = {entity.entity_id for entity in rng.sample(known, config.n_trained)}
    rest = [entity for entity in entities if entity.entity_id not in trained]
    n_unseen = len(rest) if config.n_unseen is None else config.n_unseen
    unseen = {entity.entity_id for entity in rng.sample(rest, n_unseen)}
    kept = ([one for one in entities if one.entity_id in chosen] for chosen in (trained, unseen))
    return next(kept), next(kept)


def foreign(entities: Sequence[Entity], kb: KnowledgeBase, config: CorpusConfig) -> list[Entity]:
    """Distractors from all over the knowledge base whose name means nothing else."""
    own = {kb_id(entity) for entity in entities}
    columns = ("entity_id", "name", "aliases", "alias_weights")
    rows = kb.table.select(columns).to_pylist()
    clear = [
        row for row in rows if row["entity_id"] not in own and (row["name"], 1.0) in _weighted(row)
    ]
    drawn = random.Random(f"{config.seed} foreign").sample(clear, N_FOREIGN)
    return [Entity(row["entity_id"], row["name"], "", ()) for row in drawn]


def hypernyms(entities: Sequence[Entity], kb: KnowledgeBase) -> dict[str, str]:
    """What each entity is a kind of, by its id."""
    rows = kb.entities([entity.group[-2] for entity in entities])
    return {entity.entity_id: row.name for entity, row in zip(entities, rows, strict=True) if row}


def _weighted(row: Mapping[str, Any]) -> list[tuple[str, float]]:
    return list(zip(row["aliases"], row["alias_weights"] or (), strict=False))


def _listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([*filter(None, [", ".join(names[:-1])]), names[-1]])


def _take(
    photos: Photos, entities: Sequence[Entity], per_class: int | None
) -> list[tuple[bytes, Entity]]:
    """The first photos of each of these classes."""
    wanted, seen = {entity.entity_id for entity in entities}, Counter[str]()
    taken = []
    for image, entity in photos.read():
        seen[entity.entity_id] += 1
        if entity.entity_id in wanted and (per_class or seen.total()) >= seen[entity.entity_id]:
            taken.append((image, entity))
    return taken


def _write_shards(
    out: Path, photos: Sequence[tuple[bytes, Entity]], texts: NoisyTexts, config: CorpusConfig
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    truth = []
    for shard, lot in lots(iter(enumerate(photos)), config.samples_per_shard):
        name = f"{shard:05}"
        target = out / "train" / f"{name}.tar"
        with atomic_path(target, unguarded=True) as part, part.open("wb") as tar:
            for number, (image, entity) in lot:
                key, text = f"{number:07}", texts.draw(number, entity)
                write_member(tar, f"{key}.jpg", image)
                write_member(tar, f"{key}.txt", text.alt.encode())
                if text.description is not None:
                    fields = {"caption": text.description}
                    write_member(tar, f"{key}.json", json.dumps(fields).encode())
                shown = {"entity_id": kb_id(entity), "hypernym": entity.group[-2]}
                truth.append({"shard": name, "key": key, **shown, "says": text.says})
            end_archive(tar)
    with atomic_path(out / "truth.parquet", unguarded=True) as part:
        pq.write_table(pa.Table.from_pylist(truth), part)


def _write_folders(out: Path, photos: Sequence[tuple[bytes, str]]) -> None:
    for number, (image, name) in enumerate(photos):
        with atomic_path(out / name / f"{number:05}.jpg", durable=False, unguarded=True) as part:
            part.write_bytes(image)
