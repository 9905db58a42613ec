"""Run one pipeline with two checkouts of this repository, and compare all that they write.

Each checkout runs in processes of its own (PYTHONPATH is the checkout; the interpreter must be that
of its own environment, since entry points name modules) with the same relative output paths:
score, select, filter, export, report and verify on photos with and without text, an attack set,
a few training steps, and evaluations. What was run already is not run again.

    git worktree add /tmp/old OLD && python -m venv /tmp/old/.venv &&
    /tmp/old/.venv/bin/pip install -e /tmp/old &&
    LESSTEXT_DATA=data python scripts/compare_checkouts.py /tmp/old . --out /tmp/compared

Exit code 1 when anything differs in more than listed fields.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from file_difference import Difference, compare_files

_N_ATTACKED_CLASSES = 40
_MAX_DETAILS = 12
_OLD, _NEW = "old", "new"


@dataclass(frozen=True, slots=True)
class Step:
    """One command: its module and arguments; `{data}` and `{photos}` stand for the inputs."""

    name: str
    module: str
    arguments: str

    def command(self, python: Path, data: Path, photos: Path) -> list[str]:
        places = {"data": data, "photos": photos}
        filled = [word.format(**places) for word in self.arguments.split()]
        return [str(python), "-m", self.module, *(word.replace("~", " ") for word in filled)]


def _lesstext(name: str, arguments: str) -> Step:
    return Step(name, "lesstext", arguments)


def _attr(name: str, arguments: str) -> Step:
    return Step(name, "attr_builder.cli", arguments)


def _train(name: str, arguments: str) -> Step:
    return Step(name, "train_clip.cli", arguments)


_TINY = "--model tiny --batch-size 16 --workers 1 --threads 1 --device cpu --tracker none"
_ATTACK = "build {photos} --workers 2 --chunk-size 16 --controls none,correct,nonsense"
# A tilde is a space inside an argument.
STEPS = (
    _lesstext("fake", "score {data}/cc12m_shards --out fake --detector fake"),
    _lesstext("cc12m", "score {data}/cc12m_shards --out cc12m"),
    _lesstext("flickr8k", "score {data}/flickr8k_shards/00000.tar --out flickr8k --no-regions"),
    _lesstext(
        "select-area", "select cc12m --out area.parquet --max-text-area 0.005"
    ),
    _lesstext(
        "select-fraction",
        "select flickr8k --out fraction.parquet --keep-fraction 0.5 --control random --seed 3",
    ),
    _lesstext(
        "select-where",
        "select cc12m --out where.parquet --where text_area_ratio~<~0.02~and~width~>=~200",
    ),
    _lesstext("export", "export {data}/cc12m_shards --selection area.parquet --out kept"),
    _lesstext(
        "export-packed",
        "export {data}/flickr8k_shards/00000.tar --selection fraction.parquet --out packed "
        "--samples-per-shard 30",
    ),
    _lesstext("filter", "filter {data}/cc12m_shards --out filtered --max-text-area 0.01"),
    _lesstext("report", "report cc12m --shards {data}/cc12m_shards --out report.html"),
    _lesstext("verify", "verify {data}/cc12m_shards --scores cc12m --full"),
    _attr("attack", f"{_ATTACK} --out attack --format imagefolder,webdataset,parquet"),
    _attr("attack-paper", "build {photos} --out paper --preset paper"),
    _attr("attack-verify", "verify attack --source {photos} --full"),
    _attr("attack-sheet", "inspect attack"),
    _train(
        "train",
        "train --data {data}/cc12m_shards --data {data}/flickr8k_shards/00000.tar --steps 6 "
        f"--out run {_TINY} --eval-retrieval {{data}}/cc12m_shards --save-minutes 0",
    ),
    _train(
        "train-selected",
        "train --data {data}/flickr8k_shards/00000.tar --selection fraction.parquet --steps 4 "
        f"--captions captions --caption-pick random --flip 0.5 --out picked {_TINY}",
    ),
    _train(
        "train-masked",
        "train --data {data}/cc12m_shards --scores cc12m --where text_area_ratio~<~0.5 --steps 4 "
        f"--mask-text blur --out masked {_TINY}",
    ),
    _train("model", "export run --out model"),
    _train(
        "evaluate",
        "evaluate run --zeroshot {photos} --attacked attack/attacked/val --templates 1 "
        "--device cpu --out evaluated",
    ),
    _attr(
        "evaluate-attack",
        "evaluate --model local-dir:model --set attack --templates 1 --out found",
    ),
)  # fmt: skip


@dataclass(slots=True)
class Tally:
    """What became of one kind of file."""

    n_files: int = 0
    n_equal: int = 0
    n_but_for: int = 0
    fields: set[str] = field(default_factory=set)
    different: list[str] = field(default_factory=list)

    def add(self, name: str, found: Difference | None) -> None:
        self.n_files += 1
        if found is None:
            self.n_equal += 1
        elif found.reason:
            self.different.append(f"{name}: {found.reason}")
        else:
            self.n_but_for += 1
            self.fields |= found.fields


def main() -> None:
    arguments = _parse()
    out: Path = arguments.out.resolve()
    data = Path(os.environ["LESSTEXT_DATA"]).resolve()
    photos = _photos(data / "imagenet_sample" / "val", out / "photos")
    for side, checkout, python in (
        (_OLD, arguments.old.resolve(), arguments.old_python),
        (_NEW, arguments.new.resolve(), arguments.new_python),
    ):
        own = checkout / ".venv" / "bin" / "python"
        chosen = python or (own if own.exists() else Path(sys.executable))
        print(f"{side}: {_describe(checkout)} with {chosen}", flush=True)
        for step in STEPS:
            _run(step, out / side, checkout, step.command(chosen, data, photos))
    tallies = compare_trees(out / _OLD, out / _NEW)
    print(as_text(tallies))
    sys.exit(any(tally.different for tally in tallies.values()))


def compare_trees(old: Path, new: Path) -> dict[str, Tally]:
    """The comparison of all files of two folders, by kind of file."""
    tallies: dict[str, Tally] = defaultdict(Tally)
    files = {path.relative_to(root) for root in (old, new) for path in _files(root)}
    for path in sorted(files):
        missing = [side for side, root in ((_OLD, old), (_NEW, new)) if not (root / path).exists()]
        found = (
            Difference(reason=f"not written by {missing[0]}")
            if missing
            else compare_files(old / path, new / path)
        )
        tallies[_kind(path)].add(str(path), found)
    return tallies


def as_text(tallies: dict[str, Tally]) -> str:
    """The table, and by name what differs."""
    rows = [("artefact", "files", "byte-equal", "equal but for", "different")]
    for kind, tally in tallies.items():
        but_for = f"{tally.n_but_for} [{', '.join(sorted(tally.fields))}]" if tally.fields else "0"
        rows.append(
            (kind, str(tally.n_files), str(tally.n_equal), but_for, str(len(tally.different)))
        )
    columns = zip(*(_numbers(tally) for tally in tallies.values()), strict=True)
    n_files, n_equal, n_but_for, n_different = (str(sum(column)) for column in columns)
    rows.append(("in all", n_files, n_equal, n_but_for, n_different))
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines.insert(1, "|---|" + "---:|" * 2 + "---|---:|")
    for tally in tallies.values():
        lines += [f"DIFFERENT {text}" for text in tally.different[:_MAX_DETAILS]]
    return "\n".join(lines)


def _numbers(tally: Tally) -> tuple[int, int, int, int]:
    return tally.n_files, tally.n_equal, tally.n_but_for, len(tally.different)


def _kind(path: Path) -> str:
    """A file's step and sort: `run/…/*.pt`, `cc12m/*_stats.json`."""
    tail = f"_{path.name.rpartition('_')[2]}" if path.name.endswith("_stats.json") else path.suffix
    if len(path.parts) == 1:
        return path.name
    many = "…/" if len(path.parts) > 2 else ""
    return f"{path.parts[0]}/{many}*{tail}"


def _run(step: Step, folder: Path, checkout: Path, command: Sequence[str]) -> None:
    """Run one step in `folder`; what it prints and its exit code become files there."""
    said = folder / "said" / f"{step.name}.txt"
    if said.exists():
        return
    said.parent.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        "PYTHONPATH": str(checkout),
        "XDG_CACHE_HOME": str(folder.parent / f"cache-{folder.name}"),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "100",
    }
    begun = time.monotonic()
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    print(f"  {step.name}: exit {done.returncode}, {time.monotonic() - begun:.0f} s", flush=True)
    if done.returncode:
        print(f"    {done.stderr.strip()[-500:]}", flush=True)
    said.write_text(f"exit code {done.returncode}\n{done.stdout}", encoding="utf-8")


def _photos(whole: Path, target: Path) -> Path:
    """The first classes of an ImageFolder, copied once."""
    if not target.exists():
        partial = target.with_name("photos.partial")
        shutil.rmtree(partial, ignore_errors=True)
        for folder in sorted(whole.iterdir())[:_N_ATTACKED_CLASSES]:
            shutil.copytree(folder, partial / "val" / folder.name)
        partial.rename(target)
    return target


def _files(root: Path) -> Iterator[Path]:
    return (path for path in root.rglob("*") if path.is_file())


def _describe(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "log", "-1", "--format=%h %s"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("old", type=Path, help="a checkout")
    parser.add_argument("new", type=Path, help="another")
    parser.add_argument("--out", type=Path, required=True, help="folder for both sides' outputs")
    parser.add_argument("--old-python", type=Path, help="[CHECKOUT/.venv, else this one]")
    parser.add_argument("--new-python", type=Path, help="[CHECKOUT/.venv, else this one]")
    return parser.parse_args()


if __name__ == "__main__":
    main()
