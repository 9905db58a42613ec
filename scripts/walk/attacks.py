"""`attr-builder`: a set of groceries is built; an untrained model is measured on it and SCAM."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from walk.said import Ledger, Said, run, table_cells

CONFIG = Path(__file__).parents[2] / "train_clip" / "models" / "configs" / "tiny.json"
VARIANTS = ("attacked", "none", "correct", "nonsense")
Row = dict[str, Any]


def write_untrained_model(folder: Path) -> tuple[str, str]:
    """A checkpoint of the project's smallest model with random weights; config and checkpoint."""
    import open_clip
    import torch

    folder.mkdir()
    torch.manual_seed(1)
    open_clip.add_model_config(str(CONFIG))
    torch.save(open_clip.create_model(CONFIG.stem).state_dict(), folder / "untrained.pt")
    return str(CONFIG), str(folder / "untrained.pt")


def build(photos: Path, classes: Path, folder: Path, ledger: Ledger) -> None:
    """Build, verify and look at a set of all photos below `photos`; it is written to `attr`."""
    options = ("--controls", ",".join(VARIANTS[1:]), "--strategy", "random", "--classes", classes)
    said = run("attr-builder", "build", photos, "--out", "attr", *options, cwd=folder)
    rows = pq.read_table(folder / "attr" / "manifest.parquet").to_pylist()
    n_photos = sum(1 for _ in photos.rglob("*.jpg"))
    for number, variant in enumerate(VARIANTS):
        own = [row for row in rows if row["variant"] == variant]
        stored = sum(1 for _ in (folder / "attr" / variant).rglob("*.jpg"))
        ledger.same(f"{variant} stored", stored, n_photos)
        _statistics(variant, own, said, number, ledger)
    said = run("attr-builder", "verify", "attr", "--source", photos, "--full", cwd=folder)
    hashed = said.ints(r"(\d+) stored images hashed, (\d+) drawn again: (\d+) problems")
    ledger.same("verified", hashed, (len(rows), len(rows), 0))
    said = run("attr-builder", "inspect", "attr", "--images", len(rows), cwd=folder)
    ledger.same("shown", said.ints(r"inspect.html: (\d+) images"), (len(rows),))


def _statistics(variant: str, rows: Sequence[Row], said: Said, number: int, ledger: Ledger) -> None:
    """One column of the table that `build` prints."""
    ok = [row for row in rows if row["status"] == "ok"]
    noop = [row["true_wnid"] for row in ok if variant == "attacked" and row["noop"]]
    expected = {
        "images": str(len(ok)),
        "failed (rows with a reason in the manifest)": str(len(rows) - len(ok)),
        "images whose attack names their true class": str(len(noop)),
        "classes of such images": str(len(set(noop))),
        **_by_sight([row for row in ok if row["contrast"] is not None]),
    }
    for label, value in expected.items():
        ledger.same(f"{variant}, {label}", table_cells(said.out, label)[number], value)


def _by_sight(rows: Sequence[Row]) -> dict[str, str]:
    def share(column: str, low: float, high: float) -> str:
        hits = [low <= row[column] <= high for row in rows]
        return f"{100 * sum(hits) / len(hits):.1f}%" if hits else "–"

    def ratio(pick: Any, column: str) -> str:
        return f"{pick(row[column] for row in rows):.2f}:1" if rows else "–"

    crop = "after Resize + CenterCrop 224"
    return {
        "text runs off the image": share("visible_in_image", 0, math.nextafter(1, 0)),
        f"text fully visible {crop}": share("visible_in_crop", 1, 1),
        f"text gone {crop}": share("visible_in_crop", 0, 0),
        "contrast at least 4.5:1": share("contrast", 4.5, math.inf),
        "median contrast with the surround's worst 5%": ratio(median, "contrast"),
        "median contrast with the surround's mean": ratio(median, "contrast_mean"),
        "lowest contrast": ratio(min, "contrast"),
    }


def evaluate(folder: Path, ledger: Ledger, out: str, n_photos: int, *options: object) -> None:
    """Every share that `evaluate` prints, worked out anew from the rows of single images."""
    model, weights = write_untrained_model(folder / f"model-{out}")
    given = ("--model", model, "--pretrained", weights, "--templates", 1, "--workers", 0)
    said = run("attr-builder", "evaluate", *given, "--out", out, *options, cwd=folder)
    rows = pq.read_table(folder / out / "per_image.parquet").to_pylist()
    results = json.loads((folder / out / "results.json").read_text("utf-8"))
    compared, baseline = said.texts(r"(\d+) classes, compared with `(\w+)`")
    ledger.same(f"{out}, classes", int(compared), results["n_classes"])
    names = list(dict.fromkeys(row["variant"] for row in rows))
    clean = {row["key"]: row for row in rows if row["variant"] == baseline}
    for number, name in enumerate(names):
        own = [row for row in rows if row["variant"] == name]
        ledger.same(f"{out} {name}, images", len(own), n_photos)
        for label, value in _measures(own, None if name == baseline else clean).items():
            told = table_cells(said.out, label)[number]
            ledger.same(f"{out} {name}, {label}", told, value)
        reading = said.texts(rf"^\| {name} \| none \|.*\| (\S+) \([^|]*\) \|$")[0]
        found = results["reading"]["none"]["value"]
        ledger.same(f"{out} {name}, reading", reading, f"{100 * found:.2f}")


def _measures(rows: Sequence[Row], clean: dict[str, Row] | None) -> dict[str, str]:
    """The cells of one column; no row attacks with its own class here."""
    right = np.array([row["predicted"] == row["label"] for row in rows])
    per_class = [right[[r["label"] == c for r in rows]].mean() for c in _labels(rows)]
    cells = {
        "images": str(len(rows)),
        "top-1": _share(right),
        "top-5": _share(np.array([row["label"] in row["top"] for row in rows])),
        "mean per-class recall": f"{100 * float(np.mean(per_class)):.2f}",
    }
    attacked = [row for row in rows if row["attack_label"] >= 0]
    if attacked:
        hits = np.array([row["predicted"] == row["attack_label"] for row in attacked])
        cells["attack success"] = _share(hits)
        cells["true class beats the attack word"] = _share(np.array([_wins(r) for r in attacked]))
    if clean is not None:
        cells["paired test of the drop"] = _paired(rows, clean)
    return cells


def _labels(rows: Sequence[Row]) -> list[int]:
    return sorted({row["label"] for row in rows})


def _wins(row: Row) -> bool:
    return bool(row["true_cosine"] > row["attack_cosine"])


def _paired(rows: Sequence[Row], clean: dict[str, Row]) -> str:
    """McNemar's exact test by the binomial sum."""
    pairs = [(clean[row["key"]], row) for row in rows]
    before = [twin["predicted"] == twin["label"] for twin, _ in pairs]
    after = [row["predicted"] == row["label"] for _, row in pairs]
    lost = sum(b and not a for b, a in zip(before, after, strict=True))
    gained = sum(a and not b for b, a in zip(before, after, strict=True))
    tail = sum(math.comb(lost + gained, k) for k in range(min(lost, gained) + 1))
    p = min(1.0, 2 * tail / 2 ** (lost + gained))
    return f"{lost} lost, {gained} gained, p = {p:.3g} (McNemar exact)"


def _share(hits: NDArray[np.bool_]) -> str:
    """A share in percent with Wilson's interval, as the roots of its quadratic."""
    n, share, z = len(hits), float(hits.mean()), 1.959963984540054
    a, b, c = 1 + z * z / n, -(2 * share + z * z / n), share * share
    root = math.sqrt(max(0.0, b * b - 4 * a * c))
    low, high = (-b - root) / (2 * a), (-b + root) / (2 * a)
    return f"{100 * share:.2f} ({100 * abs(low):.2f} to {100 * high:.2f})"
