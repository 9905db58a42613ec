"""What it costs to apply a rule to many tables.

    python scripts/benchmarks/bench_select.py --tables 5000 --rows 1000 --out select.json

The tables are drawn (keys as img2dataset numbers them, areas of which six in ten are zero), and
each rule is run in a process of its own: CPU seconds of all its threads, the wall clock, and the
most memory that it held.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lesstext.shards.fingerprint import Fingerprint
from lesstext.storage.paths import location
from lesstext.tables.table import Footer, TableWriter, table_path

sys.path.append(str(Path(__file__).parents[1]))  # scripts/, where this one is run as a file
from provenance import processor
from source_commit import source_commit

RULES = {
    "where": ["--where", "text_area_ratio <= 0.05"],
    "where, control": ["--where", "text_area_ratio <= 0.05", "--control", "random"],
    "fraction": ["--keep-fraction", "0.8", "--by", "text_area_ratio"],
    "fraction, control": [
        *("--keep-fraction", "0.8", "--by", "text_area_ratio"),
        *("--control", "random"),
    ],
    "fraction at a tie": ["--keep-fraction", "0.3", "--by", "text_area_ratio"],
}
# Bytecode is kept, as an installation does: compiling takes longer than small tables do.
_ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("uid", pa.string()),
        ("status", pa.string()),
        ("error", pa.string()),
        ("text_area_ratio", pa.float32()),
    ]
)


def make_tables(folder: Path, n_tables: int, n_rows: int) -> None:
    """Draw tables of text areas, with a hundredth of the images undecodable."""
    rng = np.random.default_rng(0)
    for number in range(n_tables):
        shard = f"{number:05}"
        ok = rng.random(n_rows) >= 0.01
        area = np.where(rng.random(n_rows) < 0.6, 0.0, rng.random(n_rows) ** 3)
        rows = pa.table(
            {
                "key": [f"{number:05}{row:04}" for row in range(n_rows)],
                "uid": [f"{number:016x}{row:016x}" for row in range(n_rows)],
                "status": np.where(ok, "ok", "decode_error"),
                "error": pa.array(np.where(ok, "", "no image"), mask=ok),
                "text_area_ratio": pa.array(area.astype(np.float32), mask=~ok),
            },
            schema=_SCHEMA,
        )
        with TableWriter(table_path(location(folder), shard), _SCHEMA) as writer:
            writer.add_table(rows)
            writer.finish(
                Footer(
                    shard=shard,
                    fingerprint=Fingerprint(1000 + number, f"{number:032x}"),
                    sha256=f"{number:064x}",
                    name="text_area",
                    annotator="drawn",
                    settings={},
                    inputs={},
                    counts={"ok": int(ok.sum()), "decode_error": int((~ok).sum())},
                    problems=[],
                )
            )


def measure(tables: Path, rule: list[str], out: Path) -> dict[str, float]:
    """Run one selection; CPU and wall seconds, and MiB held at most."""
    command = [sys.executable, "-m", "lesstext", "select", str(tables)]
    command += ["--out", str(out / "selection.parquet"), *rule]
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=_ENVIRONMENT)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {command}")
    return {
        "cpu_s": round(used.ru_utime + used.ru_stime, 2),
        "wall_s": round(time.perf_counter() - begun, 2),
        "mib": round(used.ru_maxrss / 1024),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tables", type=int, default=5000)
    parser.add_argument("--rows", type=int, default=1000, help="of each table")
    parser.add_argument("--folder", type=Path, help="where the tables stay for another time")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        tables = options.folder or Path(temporary) / "tables"
        if not tables.exists():
            make_tables(tables, options.tables, options.rows)
        measure(tables, RULES["where"], Path(temporary))  # compiles, and finds the files
        found = {name: measure(tables, rule, Path(temporary)) for name, rule in RULES.items()}
    results: dict[str, Any] = {
        "tables": options.tables,
        "rows": options.tables * options.rows,
        "commit": source_commit(),
        "processor": processor(),
        "rules": found,
    }
    text = json.dumps(results, indent=2) + "\n"
    print(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
