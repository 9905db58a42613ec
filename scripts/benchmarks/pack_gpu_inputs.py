"""Pack what `gpu.sh` reads into one folder of at most 64 MiB, for a machine without a network.

CRAFT in half precision from the weights installed here, photos of your folders and tars (spread
over them evenly, those that cannot be decoded left out), and, where it fits, Tiny-ImageNet.

    python scripts/benchmarks/pack_gpu_inputs.py PHOTOS [PHOTOS ...] --out gpu-inputs [--n 300]
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gpu.inputs import HALF_WEIGHTS

from lesstext.errors import LesstextError
from lesstext.images import decode
from lesstext.shards.tar_reading import Member, index_shard, read_member

LIMIT_BYTES = 64 * 2**20
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
_TINY_IMAGENET = ("train.parquet", "val.parquet", "classes.csv")


class DoesNotFitError(LesstextError):
    """What was asked for is larger than the limit."""


def main() -> None:
    arguments = _parse()
    out: Path = arguments.out
    if out.exists():
        raise SystemExit(f"pack_gpu_inputs: {out} exists; name a new folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch:
            folder = Path(scratch) / "inputs"
            folder.mkdir()
            n = pack(arguments, folder)
            folder.rename(out)
    except LesstextError as error:
        raise SystemExit(f"pack_gpu_inputs: {error}") from error
    print(f"{out}: {size_of(out) / 2**20:.1f} MiB, {n} photos")


def pack(arguments: argparse.Namespace, folder: Path) -> int:
    """Fill `folder`; returns how many photos it holds. Raises DoesNotFitError."""
    if arguments.craft:
        halve(folder / HALF_WEIGHTS)
    if arguments.tiny_imagenet:
        copy_tiny_imagenet(arguments.tiny_imagenet, folder / "tiny_imagenet")
    left = LIMIT_BYTES - size_of(folder)
    if left < 0:
        raise DoesNotFitError(
            f"{(LIMIT_BYTES - left) / 2**20:.1f} MiB before any photo, and "
            f"{LIMIT_BYTES / 2**20:.0f} are allowed; leave out --tiny-imagenet or the weights "
            "(--no-craft)"
        )
    n = copy_photos(arguments.photos, arguments.n, folder / "photos", left)
    if n == 0:
        raise DoesNotFitError("no photo was found that can be decoded and fits")
    return n


def halve(target: Path) -> None:
    """Write the installed, verified CRAFT checkpoint with its floats in half precision."""
    import torch

    from lesstext.text_detection.detectors.craft.weights import find_weights

    whole = torch.load(find_weights(None), map_location="cpu", weights_only=True)
    half = {k: v.half() if v.is_floating_point() else v for k, v in whole.items()}
    torch.save(half, target)


def copy_tiny_imagenet(source: Path, target: Path) -> None:
    target.mkdir()
    for name in _TINY_IMAGENET:
        if not (source / name).is_file():
            raise LesstextError(f"{source / name} does not exist")
        shutil.copyfile(source / name, target / name)


def copy_photos(sources: Sequence[Path], n: int, target: Path, left_bytes: int) -> int:
    """Copy up to `n` photos, spread evenly over those of the sources, while they fit."""
    target.mkdir()
    found = [photo for source in sources for photo in list_photos(source)]
    step = max(1, len(found) // n)
    n_copied = 0
    # What is left out of the evenly spread ones is made up for by those beside them.
    for photo in (photo for start in range(step) for photo in found[start::step]):
        if n_copied == n:
            break
        data = photo.read()
        if len(data) > left_bytes or not _is_readable(data):
            continue
        (target / f"{n_copied:05d}{photo.suffix}").write_bytes(data)
        left_bytes -= len(data)
        n_copied += 1
    return n_copied


@dataclass(frozen=True, slots=True)
class Photo:
    """An image file, or a member of a tar."""

    path: Path
    suffix: str
    member: Member | None = None

    def read(self) -> bytes:
        """Its bytes; none where the tar ends before they do."""
        if self.member is None:
            return self.path.read_bytes()
        with self.path.open("rb") as file:
            try:
                return read_member(file, self.member)
            except EOFError:
                return b""


def list_photos(source: Path) -> Iterator[Photo]:
    """The images of a tar, or of a folder with images and tars; raises LesstextError."""
    if not source.exists():
        raise LesstextError(f"{source} does not exist")
    paths = sorted(source.rglob("*")) if source.is_dir() else [source]
    for path in paths:
        if path.suffix == ".tar":
            for entry in index_shard(path).samples:
                if entry.image is not None:
                    suffix = entry.image.suffix.rpartition(".")[2]
                    yield Photo(path, f".{suffix}", entry.image)
        elif path.suffix.lower() in _SUFFIXES:
            yield Photo(path, path.suffix.lower())


def _is_readable(data: bytes) -> bool:
    try:
        decode(data)
    except LesstextError:
        return False
    return True


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("photos", type=Path, nargs="+", help="folders of images or tars, or tars")
    parser.add_argument("--out", type=Path, default=Path("gpu-inputs"))
    parser.add_argument("--n", type=int, default=300, help="photos at most")
    parser.add_argument("--tiny-imagenet", type=Path, help="for reproduce.sh; needs --no-craft")
    parser.add_argument("--no-craft", dest="craft", action="store_false")
    arguments = parser.parse_args()
    if arguments.n < 1:
        parser.error(f"--n must be at least 1, got {arguments.n}")
    return arguments


if __name__ == "__main__":
    main()
