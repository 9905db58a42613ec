"""Make image-text shards with drawn text from Tiny-ImageNet: a disease whose extent is known.

Writes below OUT: `train/` and `extra/` (WebDataset shards in img2dataset's layout), `truth/` (what
was drawn, one parquet per shard; no filter reads it), `heldout/` (captioned validation photos for
retrieval), `val/` (clean validation photos, an ImageFolder), `classes.csv` and `corpus.json`.
The same settings give the same bytes; a folder that is complete is left as it is.
"""

from __future__ import annotations

import io
import json
import random
import re
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from reproduction.drawing import FONT_FILES, DrawnText, Hard, draw_text

from attr_builder.labelled_images.classes import ClassList, load_class_list, write_class_list
from attr_builder.labelled_images.sources import Source, open_source
from lesstext.errors import LesstextError, UsageError
from lesstext.shards.tar_writing import end_archive, write_member
from lesstext.storage.files import atomic_path, write_text

TEMPLATES = (
    "a {look} of a {name}",
    "a {look} of the {name}",
    "{look} of my {name}",
    "the {name} in a {look}",
    "this {look} shows a {name}",
    "a {name} on a {look}",
    "one {look} with a {name}",
    "{look}: {name}",
)
LOOKS = ("photo", "black and white photo", "dark photo", "blurry photo")
LOOK_WEIGHTS = (55, 15, 15, 15)
# Of the images with text: the caption names the drawn word but not what is seen (without these a
# model that sees the class has no reason to read), repeats what is seen, or has nothing to do
# with the text.
KINDS = ("swapped", "parrot", "unrelated")
KIND_WEIGHTS = (50, 35, 15)
HARD_SHARE = 0.1
HARD_KINDS: tuple[Hard, ...] = ("small", "faint", "rotated")
UNRELATED = ("sale", "free", "www", "new", "2014", "hello", "news", "open", "50%", "vintage", "hd")
_CROP_SCALE = (0.7, 1.0)
_JPEG_QUALITY = 90
_DONE = "corpus.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class CorpusConfig:
    """What to make. `text_share` of the training images carry text; each photo is shown
    `renderings` times; `extra_share` of the photos go to `extra/` instead of `train/`.
    `validation_photos` of each class's training photos are held out and join the validation photos.
    `misfit_share` of the images without text have a caption that names another class.
    """

    classes: tuple[str, ...] = ()
    renderings: int = 20
    text_share: float = 0.4
    image_px: int = 128
    extra_share: float = 0.0
    n_fonts: int = len(FONT_FILES)
    samples_per_shard: int = 1000
    photos_per_class: int | None = None
    validation_photos: int = 0
    misfit_share: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Rendering:
    """One training sample to be."""

    photo: Photo
    number: int


@dataclass(frozen=True, slots=True)
class Photo:
    """One photo of Tiny-ImageNet: its split, where it lies in it, its key and its class in the
    corpus' own list."""

    split: str
    index: int
    key: str
    label: int


@dataclass(frozen=True, slots=True)
class Photos:
    """The photos used, and where to read them."""

    sources: dict[str, Source]
    classes: ClassList
    train: tuple[Photo, ...]
    val: tuple[Photo, ...]

    def read(self, photo: Photo) -> Image.Image:
        data = self.sources[photo.split].read(photo.index)
        return Image.open(io.BytesIO(data)).convert("RGB")


def make_corpus(source: Path, out: Path, config: CorpusConfig, workers: int = 1) -> dict[str, Any]:
    """Write the corpus into `out`; returns what `corpus.json` holds.

    Raises UsageError for a source without the named classes, or an `out` made otherwise.
    """
    done = out / _DONE
    settings = json.loads(json.dumps(asdict(config)))
    if done.exists():
        stored: dict[str, Any] = json.loads(done.read_text(encoding="utf-8"))
        if stored["settings"] != settings:
            raise UsageError(f"{out} holds another corpus; choose another --out or delete it")
        return stored
    photos = _open_photos(source, config)
    order = list(photos.train)
    random.Random(f"{config.seed} photos").shuffle(order)
    n_extra = round(config.extra_share * len(order))
    pools = {"extra": order[:n_extra], "train": order[n_extra:]}
    counts = {}
    with ProcessPoolExecutor(workers) as executor:
        for name, pool in pools.items():
            shards = _plan_shards(name, pool, config)
            write = partial(_write_shard, out, photos, config)
            counts[name] = sum(executor.map(write, shards.keys(), shards.values()))
    _write_heldout(out, photos, config)
    _write_validation(out, photos, config)
    write_text(out / "classes.csv", write_class_list(photos.classes), unguarded=True)
    summary = {
        "settings": settings,
        "photos": {**{name: len(pool) for name, pool in pools.items()}, "val": len(photos.val)},
        "samples": counts,
    }
    write_text(done, json.dumps(summary, indent=2) + "\n", unguarded=True)
    return summary


def _open_photos(folder: Path, config: CorpusConfig) -> Photos:
    """Which photos of Tiny-ImageNet's parquet files are trained on, and which validate."""
    all_classes = load_class_list(folder / "classes.csv")
    names = config.classes or all_classes.names
    unknown = sorted(set(names) - set(all_classes.names))
    if unknown:
        raise UsageError(f"{folder}/classes.csv has no class {', '.join(unknown)}")
    numbers = [all_classes.names.index(name) for name in names]
    classes = ClassList(tuple(all_classes.wnids[n] for n in numbers), tuple(names))
    sources = {split: open_split(folder, split, all_classes) for split in ("train", "val")}
    train: list[Photo] = []
    val: list[Photo] = []
    for label, number in enumerate(numbers):
        mine = {split: _photos_of(split, s, number, label) for split, s in sources.items()}
        held = config.validation_photos
        last = None if config.photos_per_class is None else held + config.photos_per_class
        val += mine["val"] + mine["train"][:held]
        train += mine["train"][held:last]
    return Photos(sources, classes, tuple(train), tuple(val))


def open_split(folder: Path, split: str, classes: ClassList) -> Source:
    """The split's one file, `train.parquet` or Hugging Face's `train-00000-of-00001.parquet`.

    Other names that begin alike, such as `train_more.parquet`, are other data.
    """
    name = re.compile(rf"{split}(-\d+(-of-\d+)?)?\.parquet")
    files = sorted(path for path in folder.rglob("*.parquet") if name.fullmatch(path.name))
    if len(files) != 1:
        raise UsageError(f"{folder}: needs one {split}.parquet, found {len(files)}")
    return open_source(files[0], classes=classes)


def _photos_of(split: str, source: Source, number: int, label: int) -> list[Photo]:
    """The photos of one class; `number` is its label in the source, `label` in the corpus."""
    return [
        Photo(split, index, key, label)
        for index, (key, found) in enumerate(zip(source.keys, source.labels, strict=True))
        if found == number
    ]


def _plan_shards(
    name: str, photos: Sequence[Photo], config: CorpusConfig
) -> dict[str, list[Rendering]]:
    renderings = [Rendering(p, n) for p in photos for n in range(config.renderings)]
    random.Random(f"{config.seed} {name}").shuffle(renderings)
    size = config.samples_per_shard
    return {
        f"{name}-{start // size:05d}": renderings[start : start + size]
        for start in range(0, len(renderings), size)
    }


def _write_shard(
    out: Path, photos: Photos, config: CorpusConfig, name: str, renderings: Sequence[Rendering]
) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = []
    folder = out / name.partition("-")[0]
    with atomic_path(folder / f"{name}.tar", unguarded=True) as part, part.open("wb") as tar:
        for position, rendering in enumerate(renderings):
            key = f"{name.replace('-', '')}{position:05d}"
            image, caption, row = _render(photos, config, rendering)
            fields = {"key": key, "caption": caption}
            write_member(tar, f"{key}.jpg", image)
            write_member(tar, f"{key}.txt", caption.encode())
            write_member(tar, f"{key}.json", json.dumps(fields).encode())
            rows.append({"key": key, "caption": caption, **row})
        end_archive(tar)
    with atomic_path(out / "truth" / f"{name}.parquet", unguarded=True) as part:
        pq.write_table(pa.Table.from_pylist(rows, schema=_truth_schema()), part)
    return len(rows)


def _render(
    photos: Photos, config: CorpusConfig, rendering: Rendering
) -> tuple[bytes, str, dict[str, Any]]:
    """JPEG, caption and truth of one sample."""
    photo, label = rendering.photo, rendering.photo.label
    rng = random.Random(f"{config.seed} {photo.key} {rendering.number}")
    image = _crop(photos.read(photo), rng, config.image_px)
    look = rng.choices(LOOKS, LOOK_WEIGHTS)[0]
    image = apply_look(image, look)
    names = photos.classes.names
    kind, named, drawn = "clean", label, None
    if rng.random() < config.text_share:
        kind = rng.choices(KINDS, KIND_WEIGHTS)[0]
        if kind == "swapped":
            named = _another(rng, label, len(names))
        text = rng.choice(UNRELATED) if kind == "unrelated" else names[named]
        hard: Hard = rng.choice(HARD_KINDS) if rng.random() < HARD_SHARE else "none"
        image, drawn = draw_text(image, text, rng, hard=hard, n_fonts=config.n_fonts)
    elif config.misfit_share and rng.random() < config.misfit_share:
        kind, named = "misfit", _another(rng, label, len(names))
    caption = rng.choice(TEMPLATES).format(look=look, name=names[named])
    row = {
        "photo": photo.key,
        "photo_class": names[label],
        "caption_class": names[named],
        "kind": kind,
        "has_text": drawn is not None,
        **_truth(drawn),
    }
    return jpeg(image), caption, row


def _another(rng: random.Random, label: int, n_classes: int) -> int:
    return rng.choice([other for other in range(n_classes) if other != label])


def _truth(drawn: DrawnText | None) -> dict[str, Any]:
    return {} if drawn is None else {**asdict(drawn), "polygon": list(drawn.polygon)}


def _truth_schema() -> Any:
    import pyarrow as pa

    text, real = pa.string(), pa.float64()
    return pa.schema(
        {
            **{n: text for n in ("key", "caption", "photo", "photo_class", "caption_class")},
            "kind": text,
            "has_text": pa.bool_(),
            **{n: text for n in ("text", "style", "hard", "font")},
            **{n: real for n in ("height_ratio", "area_ratio")},
            "polygon": pa.list_(real),
        }
    )


def _crop(image: Image.Image, rng: random.Random, size_px: int) -> Image.Image:
    """A random square of 70 to 100% of the area, enlarged to `size_px`."""
    side = round(min(image.size) * rng.uniform(*_CROP_SCALE) ** 0.5)
    left, top = rng.randint(0, image.width - side), rng.randint(0, image.height - side)
    box = (left, top, left + side, top + side)
    return image.resize((size_px, size_px), Image.Resampling.BICUBIC, box=box)


def apply_look(image: Image.Image, look: str) -> Image.Image:
    """What the caption's `look` says, done to the image."""
    if look.startswith("black"):
        return ImageOps.grayscale(image).convert("RGB")
    if look.startswith("dark"):
        return ImageEnhance.Brightness(image).enhance(0.4)
    if look.startswith("blurry"):
        return image.filter(ImageFilter.GaussianBlur(image.width / 40))
    return image


def _write_heldout(out: Path, photos: Photos, config: CorpusConfig) -> None:
    """One captioned rendering of each validation photo; no caption comes twice within a class
    while there are combinations of look and template left."""
    rng = random.Random(f"{config.seed} heldout")
    pairs = [(look, template) for look in LOOKS for template in TEMPLATES]
    left: dict[int, list[tuple[str, str]]] = {}
    target = out / "heldout" / "heldout-00000.tar"
    with atomic_path(target, unguarded=True) as part, part.open("wb") as tar:
        for position, photo in enumerate(photos.val):
            if not left.get(photo.label):
                left[photo.label] = rng.sample(pairs, len(pairs))
            look, template = left[photo.label].pop()
            image = apply_look(whole(photos.read(photo), config.image_px), look)
            caption = template.format(look=look, name=photos.classes.names[photo.label])
            write_member(tar, f"{position:05d}.jpg", jpeg(image))
            write_member(tar, f"{position:05d}.txt", caption.encode())
        end_archive(tar)


def _write_validation(out: Path, photos: Photos, config: CorpusConfig) -> None:
    for photo in photos.val:
        image = whole(photos.read(photo), config.image_px)
        target = out / "val" / photos.classes.wnids[photo.label] / f"{photo.key}.jpg"
        with atomic_path(target, unguarded=True) as part:
            part.write_bytes(jpeg(image))


def whole(image: Image.Image, size_px: int) -> Image.Image:
    return ImageOps.fit(image, (size_px, size_px), Image.Resampling.BICUBIC)


def jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()


def main(
    source: Annotated[
        Path, typer.Argument(help="Tiny-ImageNet: train and val parquet, classes.csv.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the corpus.")],
    classes: Annotated[str, typer.Option(help="Class names, comma-separated (none: all).")] = "",
    renderings: Annotated[int, typer.Option(min=1, help="Times each photo is shown.")] = 20,
    text_share: Annotated[float, typer.Option(min=0, max=1, help="Share with text.")] = 0.4,
    image_px: Annotated[int, typer.Option(min=32, help="Side of the images.")] = 128,
    extra_share: Annotated[float, typer.Option(min=0, max=0.9, help="Photos for extra/.")] = 0.0,
    fonts: Annotated[int, typer.Option(min=1, max=len(FONT_FILES))] = len(FONT_FILES),
    photos_per_class: Annotated[int | None, typer.Option(help="At most so many.")] = None,
    validation_photos: Annotated[
        int, typer.Option(min=0, help="Training photos per class held out for validation too.")
    ] = 0,
    misfit_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of text-free images with a foreign caption.")
    ] = 0.0,
    samples_per_shard: Annotated[int, typer.Option(min=1)] = 1000,
    seed: Annotated[int, typer.Option()] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
) -> None:
    """Make the corpus of the reproduction; see the module's first lines."""
    config = CorpusConfig(
        classes=tuple(name for name in classes.split(",") if name),
        renderings=renderings,
        text_share=text_share,
        image_px=image_px,
        extra_share=extra_share,
        n_fonts=fonts,
        photos_per_class=photos_per_class,
        validation_photos=validation_photos,
        misfit_share=misfit_share,
        samples_per_shard=samples_per_shard,
        seed=seed,
    )
    try:
        summary = make_corpus(source, out, config, workers)
    except LesstextError as error:
        typer.echo(f"make_corpus: {error}", err=True)
        raise typer.Exit(2) from None
    typer.echo(f"{out}: {json.dumps({k: summary[k] for k in ('photos', 'samples')})}")


if __name__ == "__main__":
    typer.run(main)
