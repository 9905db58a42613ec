"""Kill commands again and again at random moments, let them go on, and compare with a calm run.

    python scripts/kill_campaign.py --kills 100 --out scripts/results/kill_campaign.json

Tiny drawn shards and photos in a temporary folder. Each command is killed with all its processes,
once to ten times in one output folder, and then runs to its end: every file must be the calm run's,
and nothing half-written may be left there or in the temporary folder. `--out` is written after
each such round, and what it holds already counts: a campaign that was stopped goes on.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from file_difference import compare_files
from kill_commands import COMMANDS, Program, make_inputs

from lesstext.storage.guard import MARKER

# Times, in fields of files of these names; event files hold nothing else.
_TIMES = {
    "_stats.json": {"images_per_s", "seconds"},
    "result.json": {"train_s", "wait_s"},
    "comparison.json": {"runs[].train_s", "runs[].wait_s"},
    "metrics.jsonl": {"[].timing"},
    ".pt": {"counters.train_s", "counters.wait_s"},
    "report.html": {"numbers in"},
}
_MOST_KILLS_A_ROUND = 10
_PATIENCE_S = 300.0


@dataclass(kw_only=True)
class Verdict:
    """What became of one command: kills that hit it alive, in how many rounds, what was wrong."""

    command: str
    kills: int = 0
    rounds: int = 0
    calm_s: float = 0.0
    differing: list[str] = field(default_factory=list)
    litter: list[str] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100, help="SIGKILLs of each command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help=f"some of {','.join(COMMANDS)}")
    parser.add_argument("--out", type=Path, help="JSON summary, to be continued where it exists")
    arguments = parser.parse_args()
    names = arguments.only.split(",") if arguments.only else list(COMMANDS)
    verdicts = [_stored(arguments.out, name) for name in names]
    with tempfile.TemporaryDirectory(prefix="kill-campaign-") as folder:
        place = Path(folder)
        os.environ["TMPDIR"] = tempfile.tempdir = str(place / "tmp")
        (place / "tmp").mkdir()
        # In a process of its own: what is forked later must not have begun threads.
        _run(lambda: make_inputs(place, random.Random(arguments.seed)))
        for verdict in verdicts:
            _campaign(verdict, place, arguments)
    sys.exit(any(verdict.differing or verdict.litter for verdict in verdicts))


def _campaign(verdict: Verdict, place: Path, arguments: argparse.Namespace) -> None:
    """Rounds of one command until it has been killed often enough."""
    if verdict.kills >= arguments.kills:
        return
    program = COMMANDS[verdict.command](place)
    for module in program.preload:
        importlib.import_module(module)
    out, calm = place / "out", place / f"{verdict.command}-calm"
    _run(program.prepare)
    start = time.monotonic()
    _run(lambda: program.run(out))
    verdict.calm_s = round(time.monotonic() - start, 2)
    out.rename(calm)
    while verdict.kills < arguments.kills:
        rng = random.Random(f"{arguments.seed} {verdict.command} {verdict.rounds}")
        verdict.kills += _round(program, out, verdict.calm_s, rng)
        verdict.rounds += 1
        name = f"round {verdict.rounds}: "
        verdict.differing += [name + one for one in _differing(calm, out)]
        verdict.litter += [name + one for one in _litter(out) + _litter(place / "tmp", all_=True)]
        shutil.rmtree(out)
        _store(arguments.out, verdict)
    print(json.dumps(asdict(verdict)), flush=True)


def _round(program: Program, out: Path, calm_s: float, rng: random.Random) -> int:
    """Kill one output's runs at random moments, then let the last one end; returns the kills."""
    kills = 0
    for _ in range(rng.randint(1, _MOST_KILLS_A_ROUND)):
        # Every third late, where most files appear.
        moment = rng.uniform(0.7 if rng.random() < 1 / 3 else 0.0, 1.0) * calm_s
        child = _start(lambda: program.run(out))
        if _ends_within(child, moment):
            return kills
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        kills += 1
    _run(lambda: program.run(out))
    return kills


def _start(act: Callable[[], object]) -> int:
    """Fork a process group of its own that acts; returns its process id."""
    log = Path(tempfile.gettempdir()).parent / "log"
    child = os.fork()
    if child:
        with suppress(OSError):  # on either side, for either may be the first to go on
            os.setpgid(child, child)
        return child
    code = 1
    try:
        os.setpgid(0, 0)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        act()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _run(act: Callable[[], object]) -> None:
    """Act in a process of its own, to the end; raises RuntimeError where it fails."""
    if not _ends_within(_start(act), _PATIENCE_S):
        raise RuntimeError(f"no end within {_PATIENCE_S} s: {_told()}")


def _ends_within(child: int, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            if status:
                raise RuntimeError(f"it failed ({status}): {_told()}")
            return True
        if time.monotonic() >= until:
            return False
        time.sleep(0.002)


def _told() -> str:
    log = Path(tempfile.gettempdir()).parent / "log"
    return log.read_text(errors="replace")[-3000:]


def _differing(calm: Path, found: Path) -> list[str]:
    """Files that one of them lacks, or whose contents differ in more than times."""
    names = {str(p.relative_to(root)) for root in (calm, found) for p in root.rglob("*")}
    return [text for name in sorted(names) if (text := _difference(name, calm, found))]


def _difference(name: str, calm: Path, found: Path) -> str:
    one, other = calm / name, found / name
    if one.is_dir() and other.is_dir():
        return ""
    if not one.exists() or not other.exists():
        return f"{name}: {'is missing' if one.exists() else 'is new'}"
    difference = compare_files(one, other)
    times = next((times for end, times in _TIMES.items() if name.endswith(end)), set[str]())
    if difference is None or (not difference.reason and _are_times(difference.fields, times)):
        return ""
    return f"{name}: {difference.reason or sorted(difference.fields)}"


def _are_times(fields: set[str], times: set[str]) -> bool:
    return all(any(one.startswith(time_) for time_ in times) for one in fields)


def _litter(folder: Path, *, all_: bool = False) -> list[str]:
    """Hidden files that are no markers; or whatever lies there, but torch's and Python's own."""
    paths = folder.glob("*") if all_ else folder.rglob(".*")
    return sorted(
        str(path.relative_to(folder))
        for path in paths
        if not path.name.endswith(MARKER) and not path.name.startswith(("torchinductor", "pymp-"))
    )


def _stored(path: Path | None, name: str) -> Verdict:
    return Verdict(**_read(path).get(name, {"command": name}))


def _store(path: Path | None, verdict: Verdict) -> None:
    if path is not None:
        found = {**_read(path), verdict.command: asdict(verdict)}
        partial = path.with_suffix(".new")
        partial.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        partial.replace(path)


def _read(path: Path | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if path is not None and path.exists():
        found = json.loads(path.read_text(encoding="utf-8"))
    return found


if __name__ == "__main__":
    main()
