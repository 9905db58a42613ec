"""Train the weights of the detector `small` on one's own photos, in one command.

    python scripts/distil.py --photos photos/ --fonts fonts/ --out distilled/

The teacher labels the photos (once), composites are made of them, the network is trained, and its
weights are written to `OUT/weights.safetensors`, for `lesstext score --detector small --weights`.
Interrupted and run again, it goes on where it was. It starts from the weights that the package
carries, or with `--from ppocr` from PP-OCRv6's, as those did.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from distillation.composites import compose
from distillation.export import export
from distillation.fonts import find_fonts
from distillation.photos import find_photos
from distillation.teacher import label_photos
from distillation.training import TrainingConfig, train

from lesstext.errors import LesstextError, UsageError
from lesstext.text_detection.detectors.small.detector import BUNDLED_WEIGHTS
from lesstext.text_detection.detectors.small.network import SmallNetwork
from lesstext.text_detection.detectors.small.runtimes import load_network


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything: photos, files of composites, examples in each, and steps."""

    n_photos: int | None
    n_files: int
    per_file: int
    n_steps: int
    batch_size: int = 16


SIZES = {
    "smoke": Size(n_photos=4, n_files=1, per_file=8, n_steps=2, batch_size=4),
    "small": Size(n_photos=7_000, n_files=24, per_file=512, n_steps=3_000),
    "large": Size(n_photos=None, n_files=200, per_file=512, n_steps=20_000),
}


def main(
    photos: Annotated[list[Path], typer.Option(help="Folder of images or parquet; repeat.")],
    out: Annotated[Path, typer.Option(help="Folder for all that is made.")],
    fonts: Annotated[
        Path | None, typer.Option(help="Folder of TTF, OTF or WOFF. [the shipped font]")
    ] = None,
    size: Annotated[str, typer.Option(help="smoke, small or large.")] = "small",
    start: Annotated[str, typer.Option("--from", help="bundled, ppocr or random.")] = "bundled",
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 2,
    seed: Annotated[int, typer.Option(help="Of composites and training.")] = 0,
) -> None:
    """Label, compose, train and export; whatever is there already is not made again."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        distil(photos, out, fonts, _size(size), start, threads=threads, seed=seed)
    except LesstextError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(2) from error


def distil(
    paths: list[Path],
    out: Path,
    fonts: Path | None,
    size: Size,
    start: str,
    *,
    threads: int,
    seed: int,
) -> Path:
    """Everything from photos to the file of weights, whose path is returned."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    known = find_fonts(fonts)
    network = starting_from(start)
    photos = find_photos(paths, size.n_photos)
    out.mkdir(parents=True, exist_ok=True)
    labels = label_photos(photos, out / "labels.jsonl", starting_from(start), threads=threads)
    folder = out / "composites"
    compose(photos, labels, known, folder, n_files=size.n_files, per_file=size.per_file, seed=seed)
    config = TrainingConfig(n_steps=size.n_steps, batch_size=size.batch_size, seed=seed)
    trained = train(network, folder, out / "checkpoint.pt", config)
    weights = out / "weights.safetensors"
    export(trained, weights)
    print(weights)
    return weights


def starting_from(start: str) -> SmallNetwork:
    """The bundled weights, PP-OCRv6's (needs RapidOCR and `onnx`), or random ones.

    Raises UsageError for another name.
    """
    if start == "random":
        return SmallNetwork()
    if start == "ppocr":
        from distillation.pp_ocr import starting_network

        from lesstext.text_detection.ppocr.models import bundled_model

        return starting_network(bundled_model("det"))
    if start != "bundled":
        raise UsageError(f"--from must be bundled, ppocr or random, got {start!r}")
    return load_network(BUNDLED_WEIGHTS).requires_grad_(True)


def _size(name: str) -> Size:
    if name not in SIZES:
        raise UsageError(f"--size must be one of {', '.join(SIZES)}, got {name!r}")
    return SIZES[name]


if __name__ == "__main__":
    typer.run(main)
