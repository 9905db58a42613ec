"""Tests in a forked process that has imported the heavy libraries, but nothing of ours.

So a trial costs the tests that it needs to fail, and little more.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import pickle
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from coverage import Coverage

from mutation.plugin import FAILED, STARTED, Observer, Reporter

_HEAVY = """
    numpy scipy.stats cv2 PIL.Image pyarrow.parquet pyarrow.dataset duckdb fsspec pydantic jinja2
    typer rich.console rich.progress hypothesis webdataset torch torch.distributed torchvision
    open_clip braceexpand matplotlib.pyplot s3fs moto.server datasets easyocr pytest_timeout
    _hypothesis_pytestplugin multiprocessing.forkserver
"""
_PLUGINS = ("no:cacheprovider", "_hypothesis_pytestplugin", "pytest_timeout")
_MAX_FILE_BYTES = 4 << 30
_MAX_DATA_BYTES = 10 << 30
_GRACE_S = 12.0


@dataclass(frozen=True, slots=True)
class Baseline:
    """The tests of an area without a fault: seconds of each, and who runs which line."""

    seconds: dict[str, float]
    failed: frozenset[str]
    runners: dict[str, dict[int, frozenset[str]]]
    """Module → line → tests that run it in their own process; "" stands for an import."""

    def order(self, module: str, line: int, budget_s: float) -> list[str]:
        """Tests to try on a fault of the line, fastest first, as many as the budget allows.

        Those that run the line in their own process; all where none does, or an import does.
        """
        lines = self.runners.get(module, {})
        nearest = max((known for known in lines if known <= line), default=0)
        running = lines.get(nearest, frozenset())
        sound = sorted(set(self.seconds) - self.failed, key=self.seconds.__getitem__)
        if running and "" not in running:
            sound = [test for test in sound if test in running]
        spent = accumulate(self.seconds[test] for test in sound)
        return [test for test, until in zip(sound, spent, strict=True) if until <= budget_s]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which test noticed, or None; "timeout" before its name when it was killed for its time."""

    noticed_by: str | None


def warm_up() -> None:
    """Import what the tests import, as far as it is installed and not ours."""
    for name in _HEAVY.split():
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def measure_baseline(test_paths: Sequence[str], modules: Sequence[str]) -> Baseline:
    """Run the tests once without a fault, with coverage, in a process of their own."""
    reader, writer = os.pipe()

    def run() -> None:
        coverage = Coverage(data_file=None, include=list(modules), branch=False)
        observer = Observer(coverage)
        coverage.start()
        _pytest(list(test_paths), observer)
        coverage.stop()
        with os.fdopen(writer, "wb") as pipe:
            pickle.dump(_baseline(observer, modules), pipe)

    child = _fork(run)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        data = pipe.read()
    os.waitpid(child, 0)
    if not data:
        raise SystemExit(f"the tests without a fault did not end: {' '.join(test_paths)}")
    found: Baseline = pickle.loads(data)
    return found


def _baseline(observer: Observer, modules: Sequence[str]) -> Baseline:
    data = observer.coverage.get_data()
    runners = {
        module: {
            line: frozenset(contexts)
            for line, contexts in data.contexts_by_lineno(str(Path(module).resolve())).items()
        }
        for module in modules
    }
    return Baseline(dict(observer.seconds), frozenset(observer.failed), runners)


def try_tests(order: Sequence[str], seconds: Mapping[str, float]) -> Verdict:
    """Run the tests in this order until one fails or takes far longer than without a fault."""
    if not order:
        return Verdict(None)
    reader, writer = os.pipe()
    files = sorted({test.partition("::")[0] for test in order})
    child = _fork(lambda: _pytest(["-x", *files], Reporter(writer, list(order))))
    os.close(writer)
    try:
        return _watch(reader, seconds)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reader)


def _watch(pipe: int, seconds: Mapping[str, float]) -> Verdict:
    """Follow the events of a trial to its first failure or its end."""
    running, begun, rest = "starting", time.monotonic(), b""
    while True:
        limit_s = _GRACE_S + 8 * seconds.get(running, 0.0)
        left_s = begun + limit_s - time.monotonic()
        if left_s <= 0 or not select.select([pipe], [], [], left_s)[0]:
            return Verdict(f"timeout: {running}")
        data = os.read(pipe, 65536)
        if not data:
            return Verdict(None)
        *lines, rest = (rest + data).split(b"\n")
        for event, test in (line.decode().split("\t", 1) for line in lines):
            if event == FAILED:
                return Verdict(test)
            if event == STARTED:
                running, begun = test, time.monotonic()
            else:
                return Verdict(f"{event}: {test or running}")


def _pytest(arguments: list[str], plugin: Any) -> None:
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # it reads every distribution's metadata
    base = tempfile.mkdtemp(prefix="trial-")
    options = ["-q", "--hypothesis-seed=0", f"--basetemp={base}/t"]
    options += [f"-p{plugin}" for plugin in _PLUGINS]
    try:
        code = pytest.main([*options, *arguments], plugins=[plugin])
    finally:
        shutil.rmtree(base, ignore_errors=True)
    if isinstance(plugin, Reporter) and code not in (0, 1, 5):
        plugin.say("broke", f"pytest ended with {code}")


def _fork(run: Callable[[], None]) -> int:
    """Run it in a child with a process group of its own, silent and bounded."""
    child = os.fork()
    if child:
        return child
    try:
        os.setpgid(0, 0)
        gc.freeze()  # pytest collects garbage again and again, and would touch all that is shared
        resource.setrlimit(resource.RLIMIT_FSIZE, (_MAX_FILE_BYTES, _MAX_FILE_BYTES))
        resource.setrlimit(resource.RLIMIT_DATA, (_MAX_DATA_BYTES, _MAX_DATA_BYTES))
        silent = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2) if "MUTATION_SHOW" not in os.environ else (0,):
            os.dup2(silent, stream)
        sys.path.insert(0, os.getcwd())
        run()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)
