"""The HTML report."""

from collections.abc import Sequence
from pathlib import Path

from lesstext.specs import ShardSource


def write_report(
    scores: Path, shards: Sequence[ShardSource] | None, out: Path, *, max_text_area: float
) -> None:
    out.write_text("")
