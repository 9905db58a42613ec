"""Can the text of a built set be read? The project's own text detector is asked, independently.

A text counts as legible where the detector's regions cover at least half of its box.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from attr_builder.building.manifest import Row
from attr_builder.drawing.visibility import Box
from attr_builder.evaluation.statistics import rate
from lesstext.geometry import area_ratios
from lesstext.images import decode
from lesstext.storage.files import read_file
from lesstext.text_detection.protocol import Detector, DetectorSettings, TextRegions, load_detector

COVERED = 0.5
BATCH = 8


def coverage(regions: TextRegions, box: Box) -> float:
    """Share of the box's area that the union of the regions covers, in [0, 1]."""
    x0, y0, x1, y1 = box
    shifted = [polygon - np.array([x0, y0], dtype=np.float32) for polygon in regions.polygons]
    return area_ratios(shifted, x1 - x0, y1 - y0).union


def load(name: str, size_px: int | None) -> Detector:
    """A detector by name, at the longer side `size_px` (None: its own)."""
    return load_detector(DetectorSettings(name=name, size_px=size_px))


def measure(out: Path, rows: list[Row], detector: Detector) -> Iterator[tuple[Row, float]]:
    """Each row with the covered share of its text box."""
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        images = [decode(read_file(out / str(row.output))).pixels for row in batch]
        for row, regions in zip(batch, detector.detect(images), strict=True):
            x0, y0, x1, y1 = row.box or (0, 0, 0, 0)
            yield row, coverage(regions, (x0, y0, x1, y1))


def table(results: list[tuple[Row, float]]) -> str:
    """Markdown: legible share by surround, with Wilson intervals."""
    groups: dict[str, list[bool]] = defaultdict(list)
    for row, covered in results:
        groups[str(row.surround)].append(covered >= COVERED)
        groups["all"].append(covered >= COVERED)
    lines = ["| surround | images | share | legible (95% interval) |", "|---|---|---|---|"]
    for name in sorted(groups, key=lambda g: (g == "all", g)):
        legible = rate(np.array(groups[name]))
        share = len(groups[name]) / len(results)
        interval = f"{legible.value:.1%} ({legible.low:.1%} to {legible.high:.1%})"
        lines.append(f"| {name} | {legible.n} | {share:.1%} | {interval} |")
    return "\n".join(lines)
