"""What a detector found on a set of photos, kept on disk, so that a campaign can be cut and go on.

A file for each detector and set: a line that names both, then a line of JSON for each photo.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from lesstext.errors import ImageError, UsageError
from lesstext.geometry import area_ratios
from lesstext.images import decode
from lesstext.text_detection.protocol import Detector


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One photo: the share of it that is text, the regions in its own frame as flat lists of
    pixels, and the seconds of CPU that `detect` took, of all its threads; `handed_over` where a
    cascade asked its second detector."""

    key: str
    ratio: float
    regions: list[list[float]]
    cpu_s: float
    handed_over: bool = False


class Findings:
    """All findings of one detector on one set of photos."""

    def __init__(self, folder: Path, detector_id: str, photos: str) -> None:
        name = detector_id.partition(" ")[0]
        digest = hashlib.sha256(detector_id.encode()).hexdigest()[:8]
        self._path = folder / f"{name}-{digest}" / f"{photos}.jsonl"
        self._head = json.dumps({"detector": detector_id, "photos": photos})
        self.by_key = {finding.key: finding for finding in self._read()}

    @property
    def ratios(self) -> dict[str, float]:
        """The share of text by key."""
        return {key: finding.ratio for key, finding in self.by_key.items()}

    def complete(self, detector: Detector, photos: Iterable[tuple[str, bytes]]) -> None:
        """Look at the photos that are not there yet; those that cannot be decoded are left out."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        is_warm = False
        with self._path.open("a", encoding="utf-8") as file:
            if file.tell() == 0:
                file.write(self._head + "\n")
            for key, data in photos:
                if key in self.by_key:
                    continue
                if not is_warm:
                    is_warm = _warm_up(detector, data)
                finding = _look(detector, key, data)
                if finding is not None:
                    self.by_key[key] = finding
                    file.write(json.dumps(asdict(finding)) + "\n")
                    file.flush()

    def _read(self) -> list[Finding]:
        if not self._path.exists():
            return []
        head, *lines = self._path.read_text(encoding="utf-8").split("\n")
        if head != self._head:
            raise UsageError(f"{self._path} is of something else: {head[:200]}")
        whole = lines[:-1]  # a line that was cut has no newline behind it
        if lines and lines[-1]:
            self._path.write_text("\n".join([head, *whole, ""]), encoding="utf-8")
        return [Finding(**json.loads(line)) for line in whole]


def _warm_up(detector: Detector, data: bytes) -> bool:
    """What only a first call pays for is not timed."""
    return _look(detector, "", data) is not None


def _look(detector: Detector, key: str, data: bytes) -> Finding | None:
    try:
        image = decode(data, target_px=detector.input_px)
    except ImageError:
        return None
    tallies = getattr(detector, "tallies", {})
    before = sum(tallies.values())
    start = time.process_time()
    (found,) = detector.detect([image.pixels])
    cpu_s = time.process_time() - start
    height, width = image.pixels.shape[:2]
    full = found.scaled(image.width / width, image.height / height)
    return Finding(
        key=key,
        ratio=round(area_ratios(found.polygons, width, height).union, 7),
        regions=[[round(float(x), 1) for x in polygon.ravel()] for polygon in full.polygons],
        cpu_s=round(cpu_s, 5),
        handed_over=sum(tallies.values()) > before,
    )
