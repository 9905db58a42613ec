"""Photos whose alt-texts name what they show and two other entities, and which word is printed.

`truth.parquet` has, for each sample, `photo`, `variant` (`clean`, `printed`, `carton` or `loose`)
and the entities `true`, `rival` and `other`: the rival is the one whose word is printed, or, among
groceries, another variety of the same kind.
"""

from __future__ import annotations

import io
import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from entities.alt_texts import Entity, Photos, groceries
from entities.selection_quality import write_base
from make_corpus import jpeg, open_split, whole
from PIL import Image
from reproduction.drawing import draw_text

from attr_builder.labelled_images.classes import load_class_list
from lesstext.errors import UsageError
from lesstext.shards.tar_writing import end_archive, write_member
from lesstext.storage.files import atomic_path
from reading.plan import Lot, Models

IMAGE_PX = 128
TEMPLATES = ("{0}, {1} and {2}", "{0} | {1} | {2}", "photo of {0} with {1} and {2}")
CAPTIONS = ("a photo of {name}", "{name}", "this photo shows {name}", "{name} in a shop")
CARTONS = range(28, 59)
"""Labels of the groceries whose name is printed on them."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample to be: its picture, its caption, and what is known of it."""

    image: bytes
    text: str
    truth: Truth | None = None


@dataclass(frozen=True, slots=True)
class Truth:
    """What a sample shows, and what else its alt-text names, by entity id."""

    photo: str
    variant: str
    true: str
    rival: str
    other: str


def write_scenes(
    source: Path,
    lot: Lot,
    models: Models,
    *,
    words: int,
    photos_per_class: int | None = None,
) -> None:
    """Photos of `train_more`, each with `words` wrong words in turn, and as often without."""
    if lot.truth.exists():
        return
    classes = load_class_list(models.plan.classes)
    everything = load_class_list(source / "classes.csv")
    photos = open_split(source, "train_more", everything)
    n_taken = dict.fromkeys(classes.wnids, 0)
    clean: list[Sample] = []
    printed: list[Sample] = []
    for index, (key, label) in enumerate(zip(photos.keys, photos.labels, strict=True)):
        wnid = everything.wnids[label]
        if wnid not in n_taken or n_taken[wnid] == photos_per_class:
            continue
        n_taken[wnid] += 1
        picture = whole(Image.open(io.BytesIO(photos.read(index))).convert("RGB"), IMAGE_PX)
        rng = random.Random(f"0 {key}")
        for ids in _named(rng, wnid, classes.wnids, words):
            names = [classes.names[classes.wnids.index(one)] for one in ids]
            text = _alt_text(rng, names)
            drawn, _ = draw_text(picture, names[1], rng, hard="none", n_fonts=models.n_fonts)
            clean.append(Sample(jpeg(picture), text, Truth(key, "clean", *ids)))
            printed.append(Sample(jpeg(drawn), text, Truth(key, "printed", *ids)))
    write_base(
        lot.kb,
        [Entity(w, n, "", ()) for w, n in zip(classes.wnids, classes.names, strict=True)],
    )
    _write(lot, {"clean": clean, "printed": printed})


def write_cartons(data: Path, lot: Lot, photos_per_class: int | None = None) -> None:
    """Groceries: `train` with captions to train on, `val` with alt-texts to select for."""
    if lot.truth.exists():
        return
    train, val = (groceries(data, (), split) for split in ("train", "val"))
    rng = random.Random("0 groceries")
    captioned = [
        Sample(image, rng.choice(CAPTIONS).format(name=entity.name))
        for _, image, entity in _some(train, photos_per_class)
    ]
    rng.shuffle(captioned)
    _write_shard(lot.train / "train-00000.tar", captioned)
    cartons = {val.entities[label].entity_id for label in CARTONS}
    lots: dict[str, list[Sample]] = {"carton": [], "loose": []}
    for key, image, entity in _some(val, photos_per_class):
        variant = "carton" if entity.entity_id in cartons else "loose"
        alike = [one for one in val.entities if (one.entity_id in cartons) == (variant == "carton")]
        named = [entity, *_rivals(rng, entity, alike)]
        text = _alt_text(rng, [one.name for one in named])
        truth = Truth(key, variant, *(one.entity_id for one in named))
        lots[variant].append(Sample(image, text, truth))
    write_base(lot.kb, val.entities)
    _write(lot, lots)


def _named(
    rng: random.Random, true: str, wnids: Sequence[str], words: int
) -> Iterable[tuple[str, str, str]]:
    """The true entity, each of some rivals, and any other."""
    others = [one for one in wnids if one != true]
    for rival in rng.sample(others, min(words, len(others))):
        yield true, rival, rng.choice([one for one in others if one != rival])


def _some(photos: Photos, per_class: int | None) -> Iterable[tuple[str, bytes, Entity]]:
    taken: dict[str, int] = {}
    for number, (image, entity) in enumerate(photos.read()):
        taken[entity.entity_id] = taken.get(entity.entity_id, 0) + 1
        if per_class is None or taken[entity.entity_id] <= per_class:
            yield f"{number:05}", image, entity


def _rivals(rng: random.Random, entity: Entity, among: Sequence[Entity]) -> list[Entity]:
    """Another of the same kind, or any where there is none, and any other."""
    others = [one for one in among if one.entity_id != entity.entity_id]
    kin = [one for one in others if one.group == entity.group] or others
    rival = rng.choice(kin)
    return [rival, rng.choice([one for one in others if one is not rival])]


def _alt_text(rng: random.Random, names: Sequence[str]) -> str:
    return rng.choice(TEMPLATES).format(*rng.sample(names, len(names)))


def _write(lot: Lot, variants: dict[str, list[Sample]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = []
    for variant, samples in variants.items():
        if not samples:
            raise UsageError(f"{lot.folder}: no photo is {variant}")
        shard = f"{variant}-00000"
        keys = _write_shard(lot.shards / f"{shard}.tar", samples)
        for key, sample in zip(keys, samples, strict=True):
            assert sample.truth is not None
            rows.append({"shard": shard, "key": key, **asdict(sample.truth)})
    with atomic_path(lot.truth, unguarded=True) as part:
        pq.write_table(pa.Table.from_pylist(rows), part)


def _write_shard(target: Path, samples: Sequence[Sample]) -> list[str]:
    """Write one shard; returns its keys."""
    keys = [f"{number:05}" for number in range(len(samples))]
    with atomic_path(target, unguarded=True) as part, part.open("wb") as tar:
        for key, sample in zip(keys, samples, strict=True):
            write_member(tar, f"{key}.jpg", sample.image)
            write_member(tar, f"{key}.txt", sample.text.encode())
        end_archive(tar)
    return keys
