"""The GPU benchmark: every part runs on a CPU, and none that fails takes another with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pack_gpu_inputs
import pytest
import torch
from gpu import inputs
from gpu.bench import Bench, Figures, Skipped
from gpu.page import markdown
from gpu.running import Part, run_parts
from gpu.training import reached

from tests.lesstext.builders import encoded, picture, sample, write_tar

ROOT = Path(__file__).parents[2]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    (tmp_path / "work").mkdir()
    return Bench(device="cpu", inputs=tmp_path / "inputs", work=tmp_path / "work", smoke=True)


def test_every_part_runs_on_a_cpu(tmp_path: Path) -> None:
    photos = tmp_path / "inputs/photos"
    photos.mkdir(parents=True)
    for number, ratio in enumerate((0.0, 0.1, 0.3)):
        (photos / f"{number}.png").write_bytes(encoded(picture(90, 60, ratio, seed=number)))
    command = ["bash", "scripts/benchmarks/gpu.sh", "--device", "cpu", "--smoke"]
    folders = ["--inputs", str(tmp_path / "inputs"), "--out", str(tmp_path / "out")]
    environment = os.environ | {"PYTHON": sys.executable}
    subprocess.run([*command, *folders], cwd=ROOT, env=environment, check=True, timeout=250)
    found = json.loads((tmp_path / "out/gpu.json").read_text())["parts"]
    skipped = {name: part["reason"] for name, part in found.items() if part["status"] != "ok"}
    assert skipped.pop("reproduction").startswith("no Tiny-ImageNet in ")
    if found["inputs"]["figures"]["craft weights"] == inputs.FRESH:
        assert skipped.pop("agreement").startswith("CRAFT is freshly initialised")
    assert skipped == {}
    assert found["identity"]["figures"] == {
        f"{name}, two runs write the same bytes": True for name in ("small", "confirmed", "craft")
    }
    assert found["inputs"]["figures"]["photos"] == 3
    rates = found["scoring"]["figures"]
    whole, bare = (rates[f"craft, images/s {k}"] for k in ("end to end", "of the bare forward"))
    assert rates["craft, end to end / bare forward"] == pytest.approx(whole / bare)
    assert "DDP of one, samples/s" in found["DDP of one"]["figures"]
    assert "craft, two runs write the same bytes | yes" in (tmp_path / "out/gpu.md").read_text()


def test_a_part_that_fails_dies_or_hangs_leaves_the_others_and_what_it_found(bench: Bench) -> None:
    def fails(_: Bench) -> Figures:
        yield {"first": 1}
        raise RuntimeError("no kernel image")

    def dies(_: Bench) -> Figures:
        yield {"first": 1}
        os._exit(7)

    def hangs(_: Bench) -> Figures:
        yield {"first": 1}
        time.sleep(60)

    def lacks(_: Bench) -> Figures:
        raise Skipped("no photos")
        yield {}

    def works(bench: Bench) -> Figures:
        yield {"seconds": bench.seconds}

    measures: dict[str, Callable[[Bench], Figures]] = {
        "fails": fails, "dies": dies, "hangs": hangs, "lacks": lacks, "works": works,
    }  # fmt: skip
    parts = [Part(name, measure, 2) for name, measure in measures.items()]
    told: list[str] = []
    found = run_parts(parts, bench, 100, told.append)
    assert {name: (part["status"], part["reason"]) for name, part in found.items()} == {
        "fails": ("failed", "RuntimeError: no kernel image"),
        "dies": ("failed", "its process ended with 7"),
        "hangs": ("out of time", "its 2 s were over"),
        "lacks": ("skipped", "no photos"),
        "works": ("ok", ""),
    }
    assert [found[name]["figures"] for name in ("fails", "dies", "hangs")] == [{"first": 1}] * 3
    assert found["works"]["figures"] == {"seconds": 2}
    assert len(told) == 5
    late = run_parts([Part("late", works, 2)], Bench(**_fields(bench, "again")), 0, told.append)
    assert late["late"]["reason"] == "no time was left"


def _fields(bench: Bench, work: str) -> dict[str, Any]:
    return {"device": "cpu", "inputs": bench.inputs, "work": bench.work / work, "smoke": True}


def test_half_precision_weights_are_expanded(bench: Bench) -> None:
    (bench.inputs / "photos").mkdir(parents=True)
    (bench.inputs / "photos/a.png").write_bytes(b"")
    kept = {"weight": torch.tensor([0.1, 2.0]).half(), "count": torch.tensor(3)}
    torch.save(kept, bench.inputs / inputs.HALF_WEIGHTS)
    figures = list(inputs.prepare(bench))
    assert figures[-1] == {"craft weights": "rounded to half precision"}
    found = torch.load(bench.work / "craft.pth", weights_only=True)
    assert found["weight"].dtype == torch.float32 and found["count"].dtype == torch.int64
    assert torch.equal(found["weight"], kept["weight"].float())


def test_without_inputs_parts_say_what_is_missing(bench: Bench) -> None:
    with pytest.raises(Skipped, match="no photos in "):
        inputs.photos(bench)
    with pytest.raises(Skipped, match="could not be prepared"):
        inputs.weights_source(bench)


def test_packing_takes_photos_evenly_and_within_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = [encoded(picture(40, 40, 0.0, seed=number)) for number in range(4)]
    members = sample("bad", b"no image")
    for number, photo in enumerate(photos[:3]):
        members += sample(f"k{number}", photo)
    write_tar(tmp_path / "in/0.tar", members)
    (tmp_path / "in/z.PNG").write_bytes(photos[3])

    def pack(*options: str) -> list[bytes]:
        out = tmp_path / f"out{len(list(tmp_path.glob('out*')))}"
        command = ["pack", str(tmp_path / "in"), "--no-craft", "--out", str(out), *options]
        monkeypatch.setattr(sys, "argv", command)
        pack_gpu_inputs.main()
        assert capsys.readouterr().out.startswith(f"{out}: 0.0 MiB, ")
        return [path.read_bytes() for path in sorted((out / "photos").iterdir())]

    assert pack() == photos
    assert pack("--n", "2") == [photos[1], photos[3]]
    assert pack("--n", "1") == photos[:1]
    monkeypatch.setattr(pack_gpu_inputs, "LIMIT_BYTES", len(photos[0]) + len(photos[1]) + 1)
    assert pack() == photos[:2]
    monkeypatch.setattr(pack_gpu_inputs, "LIMIT_BYTES", 5)
    with pytest.raises(SystemExit, match="no photo was found that can be decoded and fits"):
        pack()
    assert not list(tmp_path.glob(".out*"))
    with pytest.raises(SystemExit, match=r"train\.parquet does not exist"):
        pack("--tiny-imagenet", str(tmp_path))


def test_the_page_shows_figures_and_what_is_missing() -> None:
    parts = {
        "a": {"status": "ok", "reason": "", "figures": {"x": {"y": 0.12345}, "same": False}},
        "b": {"status": "failed", "reason": "one | two\nthree", "figures": {"z": [1, 2]}},
    }
    page = markdown({"about": {"device": "CPU"}, "parts": parts})
    for row in ("| a | x: y | 0.123 |", "| a | same | NO |", "| b | z 2 | 2 |"):
        assert row in page
    assert "| b | failed | one \\| two three |" in page
    assert "| a | ok" not in page


def test_what_a_reproduction_reached_is_read_from_its_files(tmp_path: Path) -> None:
    (tmp_path / "pilot").mkdir()
    (tmp_path / "pilot/metrics.jsonl").write_text('{"step": 2}\n{"step": 2, "x": 1}\n')
    row = {"command": "python scripts/make_corpus.py", "seconds": 2.5, "commit": "x"}
    (tmp_path / "commands.jsonl").write_text(json.dumps(row) + "\n")
    assert reached(tmp_path) == {
        "commands finished": [{"command": "python scripts/make_corpus.py", "seconds": 2.5}],
        "steps trained": {"pilot": 2},
    }
    assert reached(tmp_path / "none") == {"commands finished": [], "steps trained": {}}
