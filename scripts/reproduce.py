"""Run the reproduction: corpus, attack, pilot, filter, arms, controls, report.

Every stage is a public command that leaves its result in the output folder and is not repeated
where that is there. The pilot comes before anything that could compare arms: unless `all` has
learnt to read, the experiment is void and stops.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import typer
from reproduction.plan import Gate, Plan, gate, load_size, with_arms, write_arms
from reproduction.report import write_results
from source_commit import source_commit

from lesstext.storage.files import write_text

HERE = Path(__file__).resolve().parent
DATA_HELP = "Tiny-ImageNet: train and val parquet, classes.csv [$LESSTEXT_DATA/tiny_imagenet]."
VOID = 3
TERMINATED = 128 + signal.SIGTERM
# Commands are shown as they read on any machine.
_SHOWN_AS = {sys.executable: "python", str(HERE): "scripts"}
if "LESSTEXT_DATA" in os.environ:
    _SHOWN_AS[os.environ["LESSTEXT_DATA"]] = "$LESSTEXT_DATA"


def main(
    size: Annotated[str, typer.Option(help="smoke, small or gpu.")] = "small",
    also: Annotated[str, typer.Option(help="Further arms: masked, augment.")] = "",
    data: Annotated[Path | None, typer.Option(help=DATA_HELP)] = None,
    out: Annotated[Path | None, typer.Option(help="Folder (default: reproduce-out/SIZE).")] = None,
) -> None:
    """From Tiny-ImageNet to the table; exit code 3 means that the experiment is void."""
    chosen = with_arms(load_size(HERE / "reproduction" / "sizes.toml", size), also)
    source = data or default_data()
    plan = Plan(chosen, out or Path("reproduce-out") / size)
    freeze(plan.out, plan.size.as_dict())
    log = CommandLog(plan.out / "commands.jsonl")
    signal.signal(signal.SIGTERM, lambda *_: log.stop())
    make_inputs(plan, source, log)
    found = run_pilot(plan, log)
    if chosen.claims and not found.passed:
        typer.echo(f"void: {found.text}; no other arm is trained", err=True)
        raise typer.Exit(VOID)
    score_and_select(plan, log)
    write_arms(plan)
    arms = ["train-clip", "compare", str(plan.arms), "--out", str(plan.runs)]
    log.run([*arms, "--jobs", str(chosen.jobs)])
    evaluate_controls(plan, log)
    page = write_results(plan, found)
    typer.echo((plan.results / "table.md").read_text(encoding="utf-8"))
    typer.echo(f"page: {page}")


class CommandLog:
    """Runs commands, shows them, and keeps what was run, how long, and from which commit."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    def stop(self) -> None:
        """Tell the running commands to save their place and end; later ones are not begun."""
        self._stopped = True
        for process in list(self._running):
            process.terminate()

    def run(self, command: Sequence[str], *, quiet: bool = False) -> None:
        """Run one command; ends the program with its exit code where it fails."""
        if self._stopped:
            raise typer.Exit(TERMINATED)
        begun = time.monotonic()
        shown = shlex.join(command)
        for path, name in _SHOWN_AS.items():
            shown = shown.replace(path, name)
        typer.echo(f"$ {shown}", err=True)
        # From the environment that runs this script, whether or not it is activated; one thread,
        # since commands that use several cores start processes for that.
        search = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        process = subprocess.Popen(
            command,
            env={**os.environ, "PATH": search, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL if quiet else None,
        )
        self._running.add(process)
        if self._stopped:  # since it was started
            process.terminate()
        code = process.wait()
        self._running.discard(process)
        if self._stopped:
            raise typer.Exit(TERMINATED)
        if code != 0:
            typer.echo(f"failed with exit code {code}: {shown}", err=True)
            raise typer.Exit(code if code > 0 else 1)
        took = round(time.monotonic() - begun, 1)
        row = {"command": shown, "seconds": took, "commit": source_commit()}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def make_inputs(plan: Plan, source: Path, log: CommandLog) -> None:
    """The corpus, and the attacked twin of its validation photos with its controls."""
    corpus = [sys.executable, str(HERE / "make_corpus.py"), str(source), "--out", str(plan.corpus)]
    log.run([*corpus, *options(plan.size.corpus)])
    build = ["attr-builder", "build", str(plan.val), "--classes", str(plan.classes)]
    build += ["--out", str(plan.attr), "--preset", "visible", "--strategy", "random"]
    log.run([*build, "--controls", "none,correct,nonsense", *options(plan.size.attack)])


def run_pilot(plan: Plan, log: CommandLog) -> Gate:
    """Train `all` with a seed of its own, and say whether it has learnt to read."""
    if not (plan.pilot / "result.json").exists():
        train = ["train-clip", "train", "--data", str(plan.train_shards), "--out", str(plan.pilot)]
        settings = {**plan.size.train, **plan.evaluation_options}
        log.run([*train, "--seed", str(plan.size.pilot_seed), *options(settings)])
    found = gate(plan)
    typer.echo(f"pilot: {found.text}", err=True)
    return found


def score_and_select(plan: Plan, log: CommandLog) -> None:
    """The score tables, and one selection per filtering arm."""
    size = plan.size
    pools = ["train", "extra"] if "pool" in size.arms else ["train"]
    for pool in pools:
        score = ["lesstext", "score", str(plan.corpus / pool), "--out", str(plan.scores / pool)]
        log.run([*score, *options(size.detector)])
        kept = plan.selection("filtered" if pool == "train" else "extra")
        select = ["lesstext", "select", str(plan.scores / pool), "--out", str(kept)]
        random = ["--control", "random"] if pool == "train" else []
        log.run([*select, "--max-text-area", str(size.max_text_area), *random])
    truth = ["--metadata", str(plan.truth), "--where", "not meta.has_text"]
    oracle = ["--out", str(plan.selection("oracle"))]
    log.run(["lesstext", "select", str(plan.scores / "train"), *oracle, *truth])


def evaluate_controls(plan: Plan, log: CommandLog) -> None:
    """Every run on every variant of the attacked set."""

    def one(arm: str, seed: int) -> None:
        out = plan.control(arm, seed)
        if (out / "results.json").exists():
            return
        model = plan.runs / arm / f"seed{seed}" / "open_clip"
        evaluate = ["attr-builder", "evaluate", "--model", f"local-dir:{model}"]
        evaluate += ["--set", str(plan.attr), "--templates", str(plan.size.templates)]
        log.run([*evaluate, "--workers", "0", "--out", str(out)], quiet=True)

    with ThreadPoolExecutor(plan.size.jobs) as pool:
        jobs = [pool.submit(one, arm, seed) for arm in plan.size.arms for seed in plan.size.seeds]
        for job in jobs:
            job.result()


def options(values: dict[str, Any]) -> list[str]:
    """Settings as command-line options; nested tables are left out.

    >>> options({"batch_size": 64, "evaluation": {"every": 2}})
    ['--batch-size', '64']
    """
    plain = {name: value for name, value in values.items() if not isinstance(value, dict)}
    return [text for n, v in plain.items() for text in (f"--{n.replace('_', '-')}", str(v))]


def freeze(out: Path, settings: dict[str, Any]) -> None:
    """Refuse to go on in a folder that was begun with other settings; arms may be added."""
    fixed = {name: value for name, value in settings.items() if name != "arms"}
    text = json.dumps(fixed, indent=2, sort_keys=True) + "\n"
    frozen = out / "settings.json"
    if not frozen.exists():
        write_text(frozen, text, unguarded=True)
    elif frozen.read_text(encoding="utf-8") != text:
        typer.echo(f"{out} was begun with other settings; choose another --out", err=True)
        raise typer.Exit(2)


def default_data() -> Path:
    folder = os.environ.get("LESSTEXT_DATA")
    if folder is None:
        typer.echo(
            "Name the folder with Tiny-ImageNet's parquet files: --data DIR (train.parquet and "
            "val.parquet as on Hugging Face, and classes.csv with label,wnid,name)",
            err=True,
        )
        raise typer.Exit(2)
    return Path(folder) / "tiny_imagenet"


if __name__ == "__main__":
    typer.run(main)
