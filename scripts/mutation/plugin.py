"""The pytest plugin inside a trial: which test runs, how long each took, which lines it ran."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import pytest
from coverage import Coverage

STARTED, FAILED = "started", "failed"


class Reporter:
    """Says on a pipe which test starts and which fails, and puts the tests in a given order."""

    def __init__(self, pipe: int, order: list[str] | None) -> None:
        self._pipe = pipe
        self._place = None if order is None else {test: place for place, test in enumerate(order)}

    def say(self, event: str, test: str) -> None:
        os.write(self._pipe, f"{event}\t{test}\n".encode())

    def pytest_collection_modifyitems(self, config: Any, items: list[pytest.Item]) -> None:
        if self._place is not None:
            place = self._place
            items[:] = [item for item in items if item.nodeid in place]
            items.sort(key=lambda item: place[item.nodeid])

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.say(STARTED, nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.say(FAILED, report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.say(FAILED, f"collecting {report.nodeid}")


@dataclass
class Observer:
    """Times each test, and asks coverage which lines of the modules it runs in this process."""

    coverage: Coverage
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    failed: set[str] = field(default_factory=set)
    _started: float = 0.0

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.coverage.switch_context(nodeid)
        self._started = time.perf_counter()

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.coverage.switch_context("between")
        self.seconds[nodeid] = time.perf_counter() - self._started

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.add(report.nodeid)
