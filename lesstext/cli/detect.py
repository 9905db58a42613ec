"""`detect`: single images instead of shards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from lesstext.annotators.base import Placement
from lesstext.annotators.text_area import TextArea
from lesstext.cli.inspect_image import inspect_image
from lesstext.cli.options import Device, Threads
from lesstext.dataclass_options import build, parameters, with_parameters
from lesstext.engines.devices import resolve_devices
from lesstext.errors import UsageError
from lesstext.shards.sources.folders import look_into
from lesstext.storage.guard import claim_folder, refuse_overlap
from lesstext.text_detection.protocol import load_detector


def detect_command() -> Callable[..., None]:
    """The command with the flags of the detector."""
    return with_parameters(parameters(TextArea, leave_out=("max_pixels", "regions")))(_detect)


def _detect(
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of them.")],
    out: Annotated[Path | None, typer.Option(help="Folder for annotated pictures.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print regions as JSON lines.")] = False,
    device: Device = "auto",
    threads: Threads = 1,
    **values: Any,
) -> None:
    """Look at single images: text-area ratio, regions, and a picture with them drawn in."""
    pictures = _pictures(images, out)
    options = build(TextArea, values)
    placement = Placement(device=resolve_devices(device)[0], threads=threads)
    detector = load_detector(options.detector_settings(placement))
    n_failed = 0
    for path, picture in pictures.items():
        result = inspect_image(path, detector, picture)
        print(result.as_json() if as_json else result.as_line())
        n_failed += result.error is not None
    raise typer.Exit(1 if n_failed else 0)


def _pictures(given: list[Path], out: Path | None) -> dict[Path, Path | None]:
    """All images, those of folders included, and where each one's picture goes.

    Raises UsageError, before anything heavy is loaded, for what cannot end well.
    """
    missing = [path for path in given if not path.is_file() and not path.is_dir()]
    if missing:
        raise UsageError(f"{missing[0]} is no file or folder" + _and_more(len(missing) - 1))
    below = [pair for path in given for pair in _images(path)]
    if out is None:
        return dict.fromkeys(image for image, _ in below)
    pictures: dict[Path, Path] = {}
    for image, name in below:
        other = pictures.setdefault(out / f"{name}.text.png", image)
        if other != image:
            raise UsageError(
                f"{other} and {image} would become one picture: use another --out each"
            )
    refuse_overlap(out, given)
    claim_folder(out, "pictures")
    return {image: picture for picture, image in pictures.items()}


def _images(path: Path) -> Iterator[tuple[Path, str]]:
    """The images that a path names, and the path below --out that each picture is named by.

    In a folder two images may differ in their suffix alone, so that is part of the name.
    """
    if not path.is_dir():
        yield path, path.stem
        return
    found = look_into(str(path))
    if not found.images:
        raise UsageError(f"{path} holds no images")
    found.say_passed_over()
    for name, _ in found.images:
        yield path / name, name


def _and_more(n: int) -> str:
    return f", nor are {n} more" if n else ""
