"""How fast is a full build beside plain decode + encode, and does its memory stay flat?

Speed: one process, one thread, CPU time; rounds of plain work and of builds alternate over the same
images
and the ratio of their medians is printed. "decode + encode" reads, decodes and encodes each image
with the build's own settings; "and write" stores the result, too.

Memory: the process's resident memory on the way.

A folder with fewer than --images images is taken again and again under new keys.

    python scripts/bench_attr.py SOURCE [--preset P] [--format F] [--rounds 5] [--images 5000]
    python scripts/bench_attr.py SOURCE --memory --images 50000
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
from typing import get_args

import psutil

from attr_builder.building.build import Build, run_build
from attr_builder.building.writers import Format
from attr_builder.drawing.attacks import paper_map
from attr_builder.drawing.painter import Painter
from attr_builder.drawing.presets import make_recipe
from attr_builder.drawing.render import encode_image, load_image
from attr_builder.labelled_images.sources import FileSource, Source, open_source


def plain(source: Source, build: Build, out: Path | None) -> None:
    """Decode and encode every image; store it where `out` is given."""
    render = build.painter.recipe.render
    for index in range(len(source)):
        data = encode_image(load_image(source.read(index), exif=render.exif), render)
        if out is not None:
            (out / f"{index}.jpg").write_bytes(data)


def timed(work: Callable[[Path], object]) -> float:
    """CPU seconds of this process for `work` in a fresh folder: other processes do not count."""
    folder = Path(tempfile.mkdtemp(prefix="bench_attr_"))
    try:
        start = time.process_time()
        work(folder)
        return time.process_time() - start
    finally:
        shutil.rmtree(folder)


def make_build(source: Source, preset: str, form: Format, out: Path) -> Build:
    painter = Painter(make_recipe(preset), source.classes, paper_map(source.classes))
    return Build(source=source, painter=painter, out=out, formats=(form,))


def bench_speed(source: Source, preset: str, form: Format, n_rounds: int) -> None:
    """Print images/s of plain work and of the build, and their ratios."""
    seconds: dict[str, list[float]] = {"decode + encode": [], "and write": [], "build": []}
    any_build = make_build(source, preset, form, Path())
    for _ in range(n_rounds):
        seconds["decode + encode"].append(timed(lambda _: plain(source, any_build, None)))
        seconds["and write"].append(timed(lambda out: plain(source, any_build, out)))
        seconds["build"].append(timed(lambda out: run_build(make_build(source, preset, form, out))))
    own = median(seconds["build"])
    print(
        f"preset {preset}, {form}, {len(source)} images, median of {n_rounds} alternating rounds\n"
    )
    print("| work | images/s | build / this |\n|---|---|---|")
    for name, values in seconds.items():
        print(f"| {name} | {len(source) / median(values):.0f} | {median(values) / own:.2f} |")


def repeated(source: Source, n_images: int) -> FileSource:
    """The images of a folder again and again under new keys, sorted by class as ImageNet is."""
    files = [
        (f"{key}_{turn}", label, path)
        for turn in range(-(-n_images // len(source)))
        for key, label, path in zip(source.keys, source.labels, source.paths, strict=True)
    ]
    return FileSource(source.kind, source.location, source.classes, files[:n_images])


def bench_memory(many: FileSource, preset: str) -> None:
    """Print resident memory while building all images of a source."""
    n_images = len(many)
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

    timed(lambda out: run_build(make_build(many, preset, "imagefolder", out), on_chunk=watch))
    print(f"| manifest and card written | {process.memory_info().rss / 2**20:.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source")
    parser.add_argument("--preset", default="visible")
    parser.add_argument("--format", default="imagefolder", choices=get_args(Format))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--images", type=int, default=None, help="repeat the source up to these")
    args = parser.parse_args()
    source = open_source(args.source)
    if not isinstance(source, FileSource):
        parser.error("needs a folder of image files")
    many = repeated(source, args.images or len(source))
    if args.memory:
        bench_memory(many, args.preset)
    else:
        bench_speed(many, args.preset, args.format, args.rounds)


if __name__ == "__main__":
    main()
