"""How fast is a full build beside plain decode + encode, and does its memory stay flat?

Speed: one process, one thread; rounds of plain work and of builds alternate over the same images
and the ratio of their medians is printed. "decode + encode" reads, decodes and encodes each image
with the build's own settings; "and write" stores the result, too.

Memory: builds the images again and again under new keys, up to --images of them, and prints the
process's resident memory on the way.

    python scripts/bench_attr.py SOURCE [--preset visible] [--rounds 5] [--memory --images 50000]
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import psutil

from attr_builder.attacks import paper_map
from attr_builder.build import Build, run_build
from attr_builder.painter import Painter
from attr_builder.presets import make_recipe
from attr_builder.render import encode_image, load_image
from attr_builder.sources import FileSource, Source, open_source


def plain(source: Source, build: Build, out: Path | None) -> None:
    """Decode and encode every image; store it where `out` is given."""
    render = build.painter.recipe.render
    for index in range(len(source)):
        data = encode_image(load_image(source.read(index), exif=render.exif), render)
        if out is not None:
            (out / f"{index}.jpg").write_bytes(data)


def timed(work: Callable[[Path], object]) -> float:
    """Seconds that `work` takes in a fresh folder."""
    folder = Path(tempfile.mkdtemp(prefix="bench_attr_"))
    try:
        start = time.perf_counter()
        work(folder)
        return time.perf_counter() - start
    finally:
        shutil.rmtree(folder)


def make_build(source: Source, preset: str, out: Path) -> Build:
    painter = Painter(make_recipe(preset), source.classes, paper_map(source.classes))
    return Build(source=source, painter=painter, out=out)


def bench_speed(source: Source, preset: str, n_rounds: int) -> None:
    """Print images/s of plain work and of the build, and their ratios."""
    seconds: dict[str, list[float]] = {"decode + encode": [], "and write": [], "build": []}
    any_build = make_build(source, preset, Path())
    for _ in range(n_rounds):
        seconds["decode + encode"].append(timed(lambda _: plain(source, any_build, None)))
        seconds["and write"].append(timed(lambda out: plain(source, any_build, out)))
        seconds["build"].append(timed(lambda out: run_build(make_build(source, preset, out))))
    own = median(seconds["build"])
    print(f"preset {preset}, {len(source)} images, median of {n_rounds} alternating rounds\n")
    print("| work | images/s | build / this |\n|---|---|---|")
    for name, values in seconds.items():
        print(f"| {name} | {len(source) / median(values):.0f} | {median(values) / own:.2f} |")


def bench_memory(source: FileSource, preset: str, n_images: int) -> None:
    """Print resident memory while building `n_images` images."""
    files = [
        (f"{key}_{turn}", label, path)
        for turn in range(-(-n_images // len(source)))
        for key, label, path in zip(source.keys, source.labels, source.paths, strict=True)
    ][:n_images]
    many = FileSource(source.kind, source.location, source.classes, files)
    process, done, marks = (
        psutil.Process(os.getpid()),
        0,
        [n_images * i // 10 for i in range(1, 11)],
    )
    print("| images | resident MiB |\n|---|---|")

    def watch(new: int, _: int) -> None:
        nonlocal done
        done += new
        while marks and done >= marks[0]:
            print(f"| {marks.pop(0)} | {process.memory_info().rss / 2**20:.0f} |", flush=True)

    timed(lambda out: run_build(make_build(many, preset, out), on_chunk=watch))
    print(f"| manifest and card written | {process.memory_info().rss / 2**20:.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source")
    parser.add_argument("--preset", default="visible")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--images", type=int, default=50_000)
    args = parser.parse_args()
    source = open_source(args.source)
    if not args.memory:
        bench_speed(source, args.preset, args.rounds)
    elif isinstance(source, FileSource):
        bench_memory(source, args.preset, args.images)
    else:
        parser.error("--memory needs a folder of image files")


if __name__ == "__main__":
    main()
