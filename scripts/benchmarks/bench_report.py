"""How fast the report of many samples is written, opens, scrolls and re-cuts in Chromium.

Draws shards of photo-like pictures with a score table each, writes their report, opens it in a
headless Chromium with a fresh profile, and reads from the browser's own trace how long after each
input the next frame was drawn. Prints a JSON of milliseconds.

    python scripts/benchmarks/bench_report.py --samples 20000
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import resource
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from PIL import Image

from lesstext.annotators.base import table_schema
from lesstext.annotators.text_area import TextArea
from lesstext.report import write_report
from lesstext.shards.fingerprint import fingerprint
from lesstext.shards.specs import ShardSource
from lesstext.shards.tar_reading import index_shard
from lesstext.tables.table import Footer, TableWriter, table_path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from chromium import Page, find_chromium, open_browser

SIZE = (512, 384)
N_PER_SHARD = 1000
N_PHOTOS = 97
N_INPUTS = 30
CATEGORIES = [
    "devtools.timeline",
    "disabled-by-default-devtools.timeline",
    "disabled-by-default-devtools.timeline.frame",
    "blink.user_timing",
]
WORDS = ["a", "photo", "of", "the", "old", "red", "house", "by", "sea", "with", "two", "dogs"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument(
        "--folder", type=Path, help="Keep shards and page here, or take those that are here."
    )
    parser.add_argument("--screenshots", type=Path, help="Folder for pictures of the page.")
    options = parser.parse_args()
    chromium = find_chromium()
    if chromium is None:
        raise SystemExit("no chromium or google-chrome on the PATH")
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        found: dict[str, Any] = {"samples": options.samples, "load": os.getloadavg()[0]}
        if not (folder / "report.html").exists():
            found.update(write(folder, options.samples))
        with open_browser(chromium, Path(scratch) / "profile") as page:
            found.update(measure(page, folder / "report.html"))
            if options.screenshots:
                take_screenshots(page, folder / "report.html", options.screenshots)
    print(json.dumps(found, indent=1))


def write(folder: Path, n_samples: int) -> dict[str, float]:
    """Shards, tables and page; seconds that the page took, its size and the process' peak."""
    rng = np.random.default_rng(0)
    photos = [_photo(rng) for _ in range(N_PHOTOS)]
    sources = [
        _shard(folder, number, min(N_PER_SHARD, n_samples - start), photos, rng)
        for number, start in enumerate(range(0, n_samples, N_PER_SHARD))
    ]
    before = time.perf_counter()
    write_report(
        folder / "scores", sources, folder / "report.html", max_text_area=0.005, n_samples=n_samples
    )
    sheets = list((folder / "report_files").rglob("*.jpg"))
    return {
        "write_s": round(time.perf_counter() - before, 1),
        "page_mb": round((folder / "report.html").stat().st_size / 1e6, 1),
        "sheets": len(sheets),
        "sheets_mb": round(sum(sheet.stat().st_size for sheet in sheets) / 1e6, 1),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3),
    }


def _photo(rng: np.random.Generator) -> bytes:
    """A JPEG as large as a photo of its size: coloured clouds with some grain."""
    clouds = cv2.resize(rng.uniform(0, 255, (12, 16, 3)), SIZE, interpolation=cv2.INTER_CUBIC)
    pixels = np.clip(clouds + rng.normal(0, 12, (SIZE[1], SIZE[0], 3)), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _shard(
    folder: Path, number: int, n_samples: int, photos: list[bytes], rng: np.random.Generator
) -> ShardSource:
    name = f"{number:05d}"
    path = folder / "shards" / f"{name}.tar"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for place in range(n_samples):
            caption = " ".join(rng.choice(WORDS, rng.integers(5, 25)))
            photo = photos[(number + place) % N_PHOTOS]
            for suffix, data in (("jpg", photo), ("txt", caption.encode())):
                info = tarfile.TarInfo(f"{number:05d}{place:05d}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    _scores(folder / "scores", path, name, rng)
    return ShardSource(name, str(path))


def _scores(scores: Path, shard: Path, name: str, rng: np.random.Generator) -> None:
    with TableWriter(table_path(scores, name), table_schema(TextArea())) as table:
        entries = index_shard(shard).samples
        for entry in entries:
            assert entry.image is not None
            place = {"image_offset": entry.image.offset, "image_size": entry.image.size}
            table.add({"key": entry.key, "status": "ok", **place, **_measured(rng)})
        table.finish(
            Footer(
                shard=name,
                fingerprint=fingerprint(shard),
                sha256="",
                name="text_area",
                inputs={},
                annotator="drawn",
                settings={},
                counts={"ok": len(entries)},
                problems=[],
            )
        )


def _measured(rng: np.random.Generator) -> dict[str, Any]:
    """Half the samples without text, the others with 1 to 20 regions and log-even ratios."""
    n = 0 if rng.uniform() < 0.5 else int(rng.integers(1, 21))
    ratio = float(np.exp(rng.uniform(np.log(5e-4), np.log(0.9)))) if n else 0.0
    corners = rng.uniform(0, 0.85, (n, 2)) * SIZE
    sides = np.array([[0, 0], [60, 0], [60, 20], [0, 20]])
    return {
        "width": SIZE[0],
        "height": SIZE[1],
        "text_area_ratio": ratio,
        "max_region_ratio": ratio / max(1, n),
        "n_regions": n,
        "regions": [(corner + sides).ravel().tolist() for corner in corners],
    }


def measure(page: Page, path: Path) -> dict[str, Any]:
    """Milliseconds until the page is drawn, and from inputs to the frames that show them."""
    _resize(page, 1400, 900)
    page.send("Performance.enable", timeDomain="threadTicks")
    opened = [_open_ms(page, path) for _ in range(2)]
    before = _cpu_ms(page)
    opened.append(_open_ms(page, path))
    cpu = _cpu_ms(page)
    page.evaluate("byId('controls').scrollIntoView(); 1")
    page.settle()
    found: dict[str, Any] = {
        "open_ms": [round(value) for value in opened],
        "open_cpu_ms": round(cpu - before if cpu > before else cpu),
    }
    actions: dict[str, Callable[[int], None]] = {
        "scroll": lambda _: page.wheel(700),
        "jump": lambda i: _run(
            page, f"window.scrollTo(0, {(i * 7919) % 97 / 97} * document.body.scrollHeight)"
        ),
        "recut": lambda i: page.press("]" if i % 10 < 5 else "["),
        "recut_far": lambda i: _run(page, f"cut({(i * 37) % 80 + 2})"),
        "order": lambda i: _run(page, f"chooseGroup('{'most' if i % 2 else 'decided'}')"),
        "search": lambda i: _run(page, f"state.text = {WORDS[i % len(WORDS)]!r}; restart()"),
    }
    for name, act in actions.items():
        found[f"{name}_ms"] = _summary(_trace(page, act))
    return found


def _run(page: Page, script: str) -> None:
    page.evaluate(f"{script}; 1")


def _open_ms(page: Page, path: Path) -> float:
    """From the navigation to the first frame that holds charts and the page's controls."""
    page.open(path)
    page.settle()
    now: float = page.evaluate("performance.now()")
    assert page.evaluate("nSamples > 0 && document.querySelector('#charts rect') !== null")
    return now


@dataclass(frozen=True, slots=True)
class Input:
    """What one input took, in ms: until the frame that shows it was drawn; and of the page's main
    thread, the longest task by the clock, and all tasks together in its CPU time."""

    frame_ms: float
    task_ms: float
    cpu_ms: float


def _cpu_ms(page: Page) -> float:
    """CPU time of the main thread's tasks so far; it may begin anew with a page."""
    metrics = page.send("Performance.getMetrics")["metrics"]
    return 1000 * next(float(one["value"]) for one in metrics if one["name"] == "TaskDuration")


def _trace(page: Page, act: Callable[[int], None]) -> list[Input]:
    """Act N_INPUTS times, and read what the browser's trace tells of each."""
    page.send("Tracing.start", transferMode="ReportEvents", categories=",".join(CATEGORIES))
    for place in range(N_INPUTS):
        page.evaluate(f"performance.mark('input {place}'); 1")
        act(place)
        page.settle()
        page.evaluate(f"performance.mark('drawn {place}'); 1")
    events = page.trace()
    marks = {
        event["name"]: event["ts"] / 1000
        for event in events
        if event.get("cat") == "blink.user_timing" and event["name"].startswith(("input", "drawn"))
    }
    main = next(
        (event["pid"], event["tid"]) for event in events if event.get("cat") == "blink.user_timing"
    )
    tasks = [
        event
        for event in events
        if event["name"] == "RunTask" and "dur" in event and (event["pid"], event["tid"]) == main
    ]
    return [_input(tasks, marks[f"input {i}"], marks[f"drawn {i}"]) for i in range(N_INPUTS)]


def _input(tasks: list[dict[str, Any]], start: float, end: float) -> Input:
    inside = [task for task in tasks if start <= task["ts"] / 1000 <= end]
    longest = max((task["dur"] for task in inside), default=0)
    return Input(end - start, longest / 1000, sum(task.get("tdur", 0) for task in inside) / 1000)


def _summary(found: list[Input]) -> dict[str, float]:
    return {
        "frame_median": round(median(one.frame_ms for one in found), 1),
        "frame_worst": round(max(one.frame_ms for one in found), 1),
        "task_worst": round(max(one.task_ms for one in found), 1),
        "cpu_median": round(median(one.cpu_ms for one in found), 1),
        "cpu_worst": round(max(one.cpu_ms for one in found), 1),
    }


def _resize(page: Page, width: int, height: int) -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    page.send("Emulation.setDeviceMetricsOverride", **size)


def take_screenshots(page: Page, path: Path, folder: Path) -> None:
    """The head of the page and its pictures, at three widths, light and dark."""
    folder.mkdir(parents=True, exist_ok=True)
    for width in (380, 900, 1400):
        for scheme in ("light", "dark"):
            feature = {"name": "prefers-color-scheme", "value": scheme}
            page.send("Emulation.setEmulatedMedia", features=[feature])
            _resize(page, width, 900)
            page.open(path)
            for part in ("head", "pictures"):
                if part == "pictures":
                    page.evaluate("byId('controls').scrollIntoView(); 1")
                page.settle()
                time.sleep(0.5)
                data = page.send("Page.captureScreenshot", format="png")["data"]
                (folder / f"{part}_{width}_{scheme}.png").write_bytes(base64.b64decode(data))


if __name__ == "__main__":
    main()
