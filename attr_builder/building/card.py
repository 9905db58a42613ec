"""What a built set contains, in numbers, and the card that tells it to readers."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from attr_builder.building.manifest import JSONL_NAME, PARQUET_NAME, Row
from attr_builder.drawing.fonts import resolve_font
from attr_builder.drawing.presets import Recipe
from lesstext.storage.files import write_text

CARD_NAME = "README.md"
STATISTICS_NAME = "statistics.json"
WCAG_AA = 4.5


@dataclass
class _Variant:
    """Counts of one variant, and the few numbers per image that medians need."""

    statuses: Counter[str] = field(default_factory=Counter)
    surrounds: Counter[str] = field(default_factory=Counter)
    strategies: Counter[str] = field(default_factory=Counter)
    noop_classes: set[str] = field(default_factory=set)
    n_noop: int = 0
    n_bytes: int = 0
    in_image: list[float] = field(default_factory=list)
    in_crop: list[float] = field(default_factory=list)
    contrast: list[float] = field(default_factory=list)
    contrast_mean: list[float] = field(default_factory=list)

    def add(self, row: Row) -> None:
        self.statuses[row.status] += 1
        self.n_bytes += row.output_bytes or 0
        if row.status != "ok":
            return
        self.strategies[row.strategy] += 1
        if row.variant == "attacked" and row.noop:
            self.n_noop += 1
            self.noop_classes.add(row.true_wnid)
        if row.visible_in_image is not None and row.visible_in_crop is not None:
            self.in_image.append(row.visible_in_image)
            self.in_crop.append(row.visible_in_crop)
            self.surrounds[row.surround or ""] += 1
        if row.contrast is not None and row.contrast_mean is not None:
            self.contrast.append(row.contrast)
            self.contrast_mean.append(row.contrast_mean)

    def as_json(self) -> dict[str, Any]:
        n_text = len(self.in_image)
        return {
            "n_images": self.statuses["ok"],
            "n_failed": sum(self.statuses.values()) - self.statuses["ok"],
            "failures": {s: n for s, n in sorted(self.statuses.items()) if s != "ok"},
            "n_bytes": self.n_bytes,
            "n_with_text": n_text,
            "run_off_image_ratio": _share(v < 1 for v in self.in_image),
            "fully_visible_in_crop_ratio": _share(v == 1 for v in self.in_crop),
            "gone_in_crop_ratio": _share(v == 0 for v in self.in_crop),
            "contrast_at_least_4.5_ratio": _share(v >= WCAG_AA for v in self.contrast),
            "median_contrast": _median(self.contrast),
            "median_contrast_mean": _median(self.contrast_mean),
            "min_contrast": min(self.contrast, default=None),
            "surround_ratios": {k: n / n_text for k, n in sorted(self.surrounds.items())},
            "strategies": dict(sorted(self.strategies.items())),
            "n_noop_images": self.n_noop,
            "n_noop_classes": len(self.noop_classes),
        }


class Statistics:
    """Counts rows as they pass; a few numbers per image are held, never rows or pixels."""

    def __init__(self) -> None:
        self._variants: dict[str, _Variant] = defaultdict(_Variant)
        self.failed_keys: list[str] = []
        self.n_failed = 0

    def watch(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Pass rows through, counting them; the first 20 failures are kept by name."""
        for row in rows:
            self._variants[row.variant].add(row)
            if row.status != "ok":
                self.n_failed += 1
                if len(self.failed_keys) < 20:
                    text = f"{row.key} ({row.source_path}), {row.variant}: {row.reason}"
                    self.failed_keys.append(text)
            yield row

    def as_json(self) -> dict[str, Any]:
        """All statistics by variant."""
        return {name: variant.as_json() for name, variant in self._variants.items()}

    def as_table(self) -> str:
        """A Markdown table of the statistics, one column per variant."""
        data = self.as_json()
        lines = [f"| | {' | '.join(data)} |", f"|---|{'---|' * len(data)}"]
        for label, name in _TABLE:
            cells = " | ".join(_cell(name, values[name]) for values in data.values())
            lines.append(f"| {label} | {cells} |")
        return "\n".join(lines)


_TABLE = (
    ("images", "n_images"),
    ("failed (rows with a reason in the manifest)", "n_failed"),
    ("text runs off the image", "run_off_image_ratio"),
    ("text fully visible after Resize + CenterCrop 224", "fully_visible_in_crop_ratio"),
    ("text gone after Resize + CenterCrop 224", "gone_in_crop_ratio"),
    ("contrast at least 4.5:1", "contrast_at_least_4.5_ratio"),
    ("median contrast with the surround's worst 5%", "median_contrast"),
    ("median contrast with the surround's mean", "median_contrast_mean"),
    ("lowest contrast", "min_contrast"),
    ("images whose attack names their true class", "n_noop_images"),
    ("classes of such images", "n_noop_classes"),
)


def write_card(out: Path, recipe: Recipe, formats: tuple[str, ...], statistics: Statistics) -> None:
    """Write statistics.json and the dataset card beside the manifest."""
    text = json.dumps(statistics.as_json(), indent=2, sort_keys=True) + "\n"
    write_text(out / STATISTICS_NAME, text)
    write_text(out / CARD_NAME, _card(recipe, formats, statistics))


def _card(recipe: Recipe, formats: tuple[str, ...], statistics: Statistics) -> str:
    font = resolve_font(recipe.render.font)
    note = f" ({font.note})" if font.note else ""
    kind = (
        "the recipe of Cao et al. 2023 (arXiv 2305.05095) to the letter"
        if recipe.is_paper
        else f"the preset `{recipe.preset}`, see recipe.json for every option"
    )
    front = _front_matter(recipe, formats)
    return f"""{front}# ImageNet-Attr: an attacked twin of a classification set

A word that names a wrong class is written on each photo: {kind}.
Variants: {", ".join(recipe.variants)}. Formats: {", ".join(formats)}. Seed {recipe.seed}.

{statistics.as_table()}

Surround that the contrast is measured with: {_surrounds(statistics)}.
Attack words: {_strategies(statistics)}.

Font: {font.name}{note}, SHA-256 `{font.sha256}`.

- `{PARQUET_NAME}` and `{JSONL_NAME}`: one row per image and variant, failures included.
- `attack_map.csv`, `classes.csv`, `recipe.json`: all that is needed to build the same bytes.
- `attr-builder verify DIR --source SOURCE` draws a sample again and compares the hashes.
- The photos stay under the terms of the set that they come from.
"""


def _front_matter(recipe: Recipe, formats: tuple[str, ...]) -> str:
    if "parquet" not in formats:
        return ""
    configs = "".join(
        f"- config_name: {v}\n  data_files:\n  - split: validation\n    path: {v}/data/*.parquet\n"
        for v in recipe.variants
    )
    return f"---\nconfigs:\n{configs}---\n\n"


def _surrounds(statistics: Statistics) -> str:
    ratios = statistics.as_json().get("attacked", {}).get("surround_ratios", {})
    return ", ".join(f"{name} {ratio:.1%}" for name, ratio in ratios.items()) or "none"


def _strategies(statistics: Statistics) -> str:
    counts = statistics.as_json().get("attacked", {}).get("strategies", {})
    return ", ".join(f"{name} ({n} images)" for name, n in counts.items()) or "none"


def _share(values: Iterable[bool]) -> float | None:
    flags = list(values)
    return sum(flags) / len(flags) if flags else None


def _median(values: list[float]) -> float | None:
    return median(values) if values else None


def _cell(name: str, value: float | None) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if name.startswith("n_"):
        return str(value)
    return f"{value:.1%}" if name.endswith("_ratio") else f"{value:.2f}:1"
