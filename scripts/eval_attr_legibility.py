"""Is the text of a built set legible? Ask the project's own text detector, image by image.

Prints, per kind of surround (image, stroke, box), the share of images in which the detector's
regions cover at least half of the text box, as a Markdown table.

    python scripts/eval_attr_legibility.py ATTR_DIR [--size 384] [--limit 200] [--variant attacked]
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from attr_builder.manifest import Row, read_manifest
from attr_builder.metrics import Rate, rate
from attr_builder.visibility import Box
from lesstext.detection import Detector, DetectorSettings, TextRegions, load_detector
from lesstext.geometry import area_ratios
from lesstext.images import decode

COVERED = 0.5
BATCH = 8


def coverage(regions: TextRegions, box: Box) -> float:
    """Share of the box's area that the union of the regions covers, in [0, 1]."""
    x0, y0, x1, y1 = box
    shifted = [polygon - np.array([x0, y0], dtype=np.float32) for polygon in regions.polygons]
    return area_ratios(shifted, x1 - x0, y1 - y0).union


def measure(out: Path, rows: list[Row], detector: Detector) -> Iterator[tuple[Row, float]]:
    """Each row with the covered share of its text box."""
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        images = [decode((out / str(row.output)).read_bytes()).pixels for row in batch]
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
        legible: Rate = rate(np.array(groups[name]))
        share = len(groups[name]) / len(results)
        interval = f"{legible.value:.1%} ({legible.low:.1%} to {legible.high:.1%})"
        lines.append(f"| {name} | {legible.n} | {share:.1%} | {interval} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("attr_dir", type=Path)
    parser.add_argument("--variant", default="attacked")
    parser.add_argument("--detector", default="craft")
    parser.add_argument(
        "--size", type=int, default=None, help="longer side in px the detector sees"
    )
    parser.add_argument(
        "--limit", type=int, default=None, help="every n-th image, this many in all"
    )
    parser.add_argument("--failures", type=Path, help="write the keys that are not legible here")
    args = parser.parse_args()
    rows = [row for row in read_manifest(args.attr_dir) if row.variant == args.variant and row.box]
    if args.limit is not None:
        rows = rows[:: max(1, len(rows) // args.limit)][: args.limit]
    detector = load_detector(DetectorSettings(name=args.detector, size_px=args.size))
    results = list(measure(args.attr_dir, rows, detector))
    print(f"detector: {detector.id}; {len(rows)} images of the variant {args.variant}\n")
    print(table(results))
    if args.failures:
        lines = [f"{row.key}\t{c:.3f}\t{row.surround}\n" for row, c in results if c < COVERED]
        args.failures.write_text("".join(lines))


if __name__ == "__main__":
    main()
