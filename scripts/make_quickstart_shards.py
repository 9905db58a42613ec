"""Draw image-text shards in img2dataset's layout from the photographs that scikit-image ships.

Crops of real photographs, half of them with text as web images carry it (caption bars, signs,
labels, watermarks), and a few broken samples. Usage: make_quickstart_shards.py OUT
"""

from __future__ import annotations

import io
import json
import random
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import skimage.data
from PIL import Image, ImageDraw, ImageFont

from lesstext.shards.tar_writing import end_archive, write_member
from lesstext.storage.files import atomic_path, write_text

N_SHARDS = 2
SAMPLES_PER_SHARD = 120
PHOTOS = {
    "astronaut": "an astronaut in an orange suit",
    "chelsea": "a cat looks into the camera",
    "coffee": "a cup of coffee on a wooden table",
    "hubble_deep_field": "galaxies in the night sky",
    "rocket": "a rocket on its launch pad",
    "grass": "a lawn from above",
    "brick": "a brick wall",
    "moon": "craters on the moon",
}
ASPECTS = ((4, 3), (3, 4), (1, 1), (16, 9))


@dataclass(frozen=True)
class Sample:
    key: str
    image: bytes
    caption: str | None
    fields: dict[str, object]


def main(out: Path) -> None:
    """Write the shards below `out`, the same bytes every time for the same library versions."""
    rng = random.Random(20230505)
    photos = {name: _photo(name) for name in PHOTOS}
    for shard in range(N_SHARDS):
        samples = [_draw(rng, photos, shard, i) for i in range(SAMPLES_PER_SHARD)]
        samples[7:7] = _broken(f"{shard:05d}")
        _write_shard(out / f"{shard:05d}.tar", samples)
    print(f"{out}: {N_SHARDS} shards of {SAMPLES_PER_SHARD + 3} samples")


def _photo(name: str) -> Image.Image:
    return Image.fromarray(getattr(skimage.data, name)()).convert("RGB")


def _draw(rng: random.Random, photos: dict[str, Image.Image], shard: int, index: int) -> Sample:
    name = rng.choice(sorted(photos))
    image = _crop(rng, photos[name])
    draw_text = rng.choice((None, None, None, _caption_bar, _sign, _watermark))
    if draw_text is not None:
        draw_text(rng, image, PHOTOS[name])
    key = f"{shard:05d}{index:04d}"
    fields = {"drawn_text": draw_text is not None, "photo": name}
    return Sample(key, _jpeg(image), PHOTOS[name], fields)


def _crop(rng: random.Random, photo: Image.Image) -> Image.Image:
    across, down = rng.choice(ASPECTS)
    scale = rng.uniform(0.5, 1.0) * min(photo.width / across, photo.height / down)
    width, height = int(across * scale), int(down * scale)
    left, top = rng.randint(0, photo.width - width), rng.randint(0, photo.height - height)
    crop = photo.crop((left, top, left + width, top + height))
    factor = rng.uniform(320, 512) / max(width, height)
    return crop.resize((round(width * factor), round(height * factor)))


def _caption_bar(rng: random.Random, image: Image.Image, caption: str) -> None:
    """White letters on a dark bar along the bottom, as on memes and stills."""
    height = round(image.height * rng.uniform(0.12, 0.2))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, image.height - height, image.width, image.height), fill=(20, 20, 20))
    font = ImageFont.load_default(height * 0.45)
    middle = (image.width / 2, image.height - height / 2)
    draw.text(middle, caption.upper()[:40], font=font, fill="white", anchor="mm")


def _sign(rng: random.Random, image: Image.Image, caption: str) -> None:
    """Dark letters on a light board somewhere in the picture."""
    text = "\n".join(textwrap.wrap(caption.upper(), 12)[:3])
    font = ImageFont.load_default(image.width * rng.uniform(0.05, 0.08))
    draw = ImageDraw.Draw(image)
    left, top, right, bottom = draw.multiline_textbbox((0, 0), text, font=font)
    x = rng.uniform(10, max(11, image.width - right - 20))
    y = rng.uniform(10, max(11, image.height - bottom - 20))
    board = (x - 8, y - 8, x + right - left + 16, y + bottom - top + 16)
    draw.rectangle(board, fill=rng.choice(("ivory", "gold", "lightblue")), outline="black", width=2)
    draw.multiline_text((x, y), text, font=font, fill="black")


def _watermark(rng: random.Random, image: Image.Image, caption: str) -> None:
    """A thin line of light letters in a corner."""
    font = ImageFont.load_default(image.width * 0.045)
    place = (image.width * 0.04, image.height * rng.choice((0.03, 0.9)))
    name = f"© {caption.split()[-1]}-photos.example"
    ImageDraw.Draw(image).text(
        place, name, font=font, fill="white", stroke_width=1, stroke_fill="black"
    )


def _broken(shard: str) -> list[Sample]:
    """What web data holds besides images."""
    page = b"<!doctype html><title>404</title>"
    return [
        Sample(f"{shard}9001", page, "an error page named .jpg", {}),
        Sample(f"{shard}9002", b"", "an empty file", {}),
        Sample(f"{shard}9003", _jpeg(Image.new("RGB", (64, 64)))[:300], "a cut-off file", {}),
    ]


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _write_shard(path: Path, samples: list[Sample]) -> None:
    with atomic_path(path, unguarded=True) as partial, partial.open("wb") as tar:
        for sample in samples:
            fields = {"key": sample.key, "caption": sample.caption, **sample.fields}
            write_member(tar, f"{sample.key}.jpg", sample.image)
            write_member(tar, f"{sample.key}.txt", (sample.caption or "").encode())
            write_member(tar, f"{sample.key}.json", json.dumps(fields).encode())
        end_archive(tar)
    stats = {"count": len(samples), "successes": len(samples)}
    write_text(path.with_name(f"{path.stem}_stats.json"), json.dumps(stats) + "\n", unguarded=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
