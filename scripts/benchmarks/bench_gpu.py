"""Measure on one GPU all that this project says of GPUs: one JSON, one Markdown table.

Parts whose inputs or packages are missing are named and passed over; one that fails leaves its
reason. With `--device cpu --smoke` every part runs on next to nothing, which shows that it runs.

    bash scripts/benchmarks/gpu.sh --inputs gpu-inputs --out gpu-results
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from gpu import inputs, network, scoring, training
from gpu.bench import Bench
from gpu.page import markdown
from gpu.running import Part, run_parts

_TOTAL_S = 510.0  # of the nine minutes; imports and the last part's end take some, too
PARTS = (
    Part("inputs", inputs.prepare, 40),
    Part("forward", network.forward, 90),
    Part("scoring", scoring.end_to_end, 100),
    Part("identity", scoring.identity, 40),
    Part("agreement", scoring.agreement, 60),
    Part("easyocr", scoring.easyocr, 30),
    Part("training", training.steps, 120),
    Part("DDP of one", training.ddp, 40),
    Part("evaluation", training.evaluation, 60),
    Part("helpers", scoring.helpers, 90),
    Part("reproduction", training.reproduction, _TOTAL_S),
)


def main() -> None:
    arguments = _parse()
    _import_once()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    chosen = [part for part in PARTS if not arguments.part or part.name in arguments.part]
    with tempfile.TemporaryDirectory(prefix="bench-gpu-") as work:
        bench = Bench(
            device=arguments.device,
            inputs=arguments.inputs,
            work=Path(work),
            smoke=arguments.smoke,
        )
        found = run_parts(chosen, bench, arguments.seconds, lambda line: print(line, flush=True))
        result = {"about": _about(bench), "parts": found}
    _write(out / "gpu.json", json.dumps(result, indent=2) + "\n")
    page = markdown(result)
    _write(out / "gpu.md", page)
    print(page)


def _import_once() -> None:
    """What parts share and is slow to import; those that need it say so where it is missing."""
    for name in ("torch", "open_clip", "open_clip_train.train", "easyocr", "lesstext.annotators"):
        try:
            __import__(name)
        except ImportError:
            continue


def _about(bench: Bench) -> dict[str, Any]:
    import torch

    sys.path.append(str(Path(__file__).resolve().parents[1]))
    from source_commit import source_commit

    return {
        "date": time.strftime("%Y-%m-%d"),
        "commit": source_commit(),
        "device": torch.cuda.get_device_name(bench.device) if bench.on_gpu else "CPU",
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "smoke": bench.smoke,
    }


def _write(path: Path, text: str) -> None:
    from lesstext.storage.files import write_text

    write_text(path, text, unguarded=True)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--inputs", type=Path, default=Path("gpu-inputs"))
    parser.add_argument("--out", type=Path, default=Path("gpu-results"))
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--smoke", action="store_true", help="next to nothing of everything")
    parser.add_argument("--seconds", type=float, default=_TOTAL_S)
    parser.add_argument("--part", action="append", choices=[part.name for part in PARTS])
    arguments = parser.parse_args()
    if arguments.device != "cpu" and not arguments.device.startswith("cuda"):
        parser.error(f"--device must be cpu or cuda:N, got {arguments.device!r}")
    return arguments


if __name__ == "__main__":
    main()
