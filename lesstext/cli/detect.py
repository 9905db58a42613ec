"""`detect`: single images instead of shards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from lesstext.annotators.base import Placement
from lesstext.annotators.text_area import TextArea
from lesstext.cli.inspect_image import inspect_image, picture_path
from lesstext.cli.options import Device, Threads
from lesstext.dataclass_options import build, parameters, with_parameters
from lesstext.engines.devices import resolve_devices
from lesstext.errors import UsageError
from lesstext.storage.guard import claim_folder, refuse_overlap
from lesstext.text_detection.protocol import load_detector


def detect_command() -> Callable[..., None]:
    """The command with the flags of the detector."""
    return with_parameters(parameters(TextArea, leave_out=("max_pixels", "regions")))(_detect)


def _detect(
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    out: Annotated[Path | None, typer.Option(help="Folder for annotated pictures.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print regions as JSON lines.")] = False,
    device: Device = "auto",
    threads: Threads = 1,
    **values: Any,
) -> None:
    """Look at single images: text-area ratio, regions, and a picture with them drawn in."""
    _check(images, out)
    options = build(TextArea, values)
    placement = Placement(device=resolve_devices(device)[0], threads=threads)
    detector = load_detector(options.detector_settings(placement))
    results = [inspect_image(path, detector, out) for path in images]
    for result in results:
        print(result.as_json() if as_json else result.as_line())
    raise typer.Exit(1 if any(result.error for result in results) else 0)


def _check(images: list[Path], out: Path | None) -> None:
    """Raise UsageError, before anything heavy is loaded, for what cannot end well."""
    missing = [path for path in images if not path.is_file()]
    if missing:
        raise UsageError(f"{missing[0]} is no file" + _and_more(len(missing) - 1))
    if out is None:
        return
    pictures: dict[Path, Path] = {}
    for path in images:
        other = pictures.setdefault(picture_path(out, path), path)
        if other != path:
            raise UsageError(f"{other} and {path} would become one picture: use another --out each")
    refuse_overlap(out, images)
    claim_folder(out, "pictures")


def _and_more(n: int) -> str:
    return f", nor are {n} more" if n else ""
