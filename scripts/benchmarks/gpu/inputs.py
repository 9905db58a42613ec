"""Photos, shards and CRAFT's weights, made once from the inputs folder for all parts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpu.bench import Bench, Figures, Skipped

if TYPE_CHECKING:
    from lesstext.text_detection.detectors.craft.detector import CraftDetector
    from lesstext.text_detection.detectors.small.detector import SmallDetector
    from lesstext.text_detection.protocol import Detector

HALF_WEIGHTS = "craft_half.pt"
FRESH = "freshly initialised: only its times mean anything"


def prepare(bench: Bench) -> Figures:
    """Expand CRAFT's weights to a checkpoint of `work`, and say where they came from."""
    import torch

    yield {"photos": len(photos(bench))}
    source, checkpoint = _checkpoint(bench)
    torch.save(checkpoint, bench.work / "craft.pth")
    (bench.work / "craft.json").write_text(json.dumps(source), encoding="utf-8")
    yield {"craft weights": source}


def _checkpoint(bench: Bench) -> tuple[str, dict[str, Any]]:
    import torch

    from lesstext.text_detection.detectors.craft.weights import find_weights, installed

    half = bench.inputs / HALF_WEIGHTS
    if half.is_file():
        loaded = torch.load(half, map_location="cpu", weights_only=True)
        return "rounded to half precision", {
            name: value.float() if value.is_floating_point() else value
            for name, value in loaded.items()
        }
    path = next((path for path in installed() if path.is_file()), None)
    if path is not None:
        found = find_weights(str(path))
        return "installed", torch.load(found, map_location="cpu", weights_only=True)
    try:
        from easyocr.craft import CRAFT
    except ImportError as error:
        raise Skipped(f"no {HALF_WEIGHTS}, no installed weights, and no easyocr") from error
    torch.manual_seed(0)
    return FRESH, CRAFT(pretrained=False).state_dict()


def weights_source(bench: Bench) -> str:
    """Where CRAFT's weights came from; raises Skipped where there are none."""
    noted = bench.work / "craft.json"
    if not noted.is_file():
        raise Skipped("CRAFT's weights could not be prepared; see the part `inputs`")
    return str(json.loads(noted.read_text(encoding="utf-8")))


def craft(
    bench: Bench, device: str | None = None, precision: str | None = None, threads: int = 1
) -> CraftDetector:
    """CRAFT with the prepared weights, as `lesstext score` would load it there."""
    from lesstext.text_detection.detectors.computing import Computing
    from lesstext.text_detection.detectors.craft.boxes import BoxThresholds
    from lesstext.text_detection.detectors.craft.detector import (
        DEFAULT_SIZE_PX,
        CraftDetector,
        CraftStages,
        default_precision,
    )

    source = weights_source(bench)
    device = device or bench.device
    precision = precision or default_precision(device)
    return CraftDetector(
        id=f"craft ({source}) precision={precision}",
        weights=bench.work / "craft.pth",
        computing=Computing(runtime="torch", precision=precision, device=device, threads=threads),
        stages=CraftStages(bench.pick(DEFAULT_SIZE_PX, 96), BoxThresholds()),
        batch_size=16 if device.startswith("cuda") else 1,
    )


def confirmed(bench: Bench) -> Detector:
    """Both as the default joins them, with the prepared weights of CRAFT."""
    from lesstext.text_detection.detectors.confirmed import FIRST, MARGIN_PX, ConfirmedDetector

    first, second = small(bench, **FIRST), craft(bench)
    return ConfirmedDetector(
        id=f"confirmed by {second.id}",
        first=first,
        second=second,
        margin_px=MARGIN_PX,
        device=bench.device,
        batch_size=first.batch_size,
    )


def small(bench: Bench, **options: str) -> SmallDetector:
    """The detector whose weights travel in the package."""
    from lesstext.text_detection.detectors.small import detector
    from lesstext.text_detection.protocol import DetectorSettings

    return detector.load(
        DetectorSettings(
            name="small",
            device=bench.device,
            size_px=96 if bench.smoke else None,
            options={"runtime": "torch", **options},
        )
    )


def photos(bench: Bench) -> list[Path]:
    """The photos of the inputs folder; raises Skipped where there are none."""
    found = sorted(path for path in (bench.inputs / "photos").glob("*.*") if path.is_file())
    if not found:
        raise Skipped(f"no photos in {bench.inputs / 'photos'}")
    return found


def shard(bench: Bench, name: str, n: int) -> Path:
    """A tar of `n` captioned photos in a folder of its own; fewer photos come again."""
    from lesstext.shards.tar_writing import end_archive, write_member

    path = bench.folder(name) / "00000.tar"
    with path.open("wb") as tar:
        for number, photo in enumerate(repeated(photos(bench), n)):
            write_member(tar, f"{number:06d}{photo.suffix.lower()}", photo.read_bytes())
            write_member(tar, f"{number:06d}.txt", f"photo number {number}".encode())
        end_archive(tar)
    return path


def repeated(paths: list[Path], n: int) -> Iterator[Path]:
    """The first `n` of the paths, taken again and again.

    >>> [path.name for path in repeated([Path("a"), Path("b")], 3)]
    ['a', 'b', 'a']
    """
    return islice(cycle(paths), n)
