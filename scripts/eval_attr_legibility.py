"""Is the text of a built set legible? Ask the project's own text detector, image by image.

Prints, per kind of surround (image, stroke, box), the share of images in which the detector's
regions cover at least half of the text box, as a Markdown table.

    python scripts/eval_attr_legibility.py ATTR_DIR [--size 384] [--limit 200] [--variant attacked]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from attr_builder.building.manifest import read_manifest
from attr_builder.evaluation.legibility import COVERED, load, measure, table


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
    detector = load(args.detector, args.size)
    results = list(measure(args.attr_dir, rows, detector))
    print(f"detector: {detector.id}; {len(rows)} images of the variant {args.variant}\n")
    print(table(results))
    if args.failures:
        lines = [f"{row.key}\t{c:.3f}\t{row.surround}\n" for row, c in results if c < COVERED]
        args.failures.write_text("".join(lines))


if __name__ == "__main__":
    main()
