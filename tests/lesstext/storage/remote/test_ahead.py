"""Fetching ahead: what was begun and is not asked for is given up, and nothing is left open."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from lesstext.storage.remote.ahead import Ahead

Opened = Counter[tuple[str, str]]


def watched(opened: Opened, gate: threading.Event, done: threading.Semaphore) -> Ahead[str, str]:
    """Things that wait for the gate; entered and left ones are counted."""

    @contextmanager
    def fetch(key: str) -> Iterator[str]:
        gate.wait(10)
        opened["entered", key] += 1
        if key == "broken":
            raise OSError("no such thing")
        try:
            yield key.upper()
        finally:
            opened["left", key] += 1
            done.release()

    held: list[AbstractContextManager[str]] = []  # so that nothing is left by the garbage collector

    def holding(key: str) -> AbstractContextManager[str]:
        held.append(fetch(key))
        return held[-1]

    return Ahead(holding)


def test_what_was_begun_is_handed_over_and_left_after_its_use() -> None:
    opened, gate, done = Opened(), threading.Event(), threading.Semaphore(0)
    gate.set()
    ahead = watched(opened, gate, done)
    ahead.begin("a", keep="x")
    ahead.begin("a", keep="x")
    with ahead.fetched("a") as thing:
        assert thing == "A" and opened == {("entered", "a"): 1}
    assert opened["left", "a"] == 1
    with ahead.fetched("b") as thing:  # never begun
        assert thing == "B"
    assert opened["entered", "b"] == opened["left", "b"] == 1


def test_what_is_given_up_is_never_entered_or_left_again() -> None:
    opened, gate, done = Opened(), threading.Event(), threading.Semaphore(0)
    ahead = watched(opened, gate, done)
    ahead.begin("running", keep="x")
    ahead.begin("waiting", keep="running")
    ahead.begin("kept", keep="running")  # gives up the one that waits
    ahead.begin(None, keep="kept")  # gives up the one that runs
    gate.set()
    assert done.acquire(timeout=10)
    with ahead.fetched("kept") as thing:
        assert thing == "KEPT"
    assert opened == {
        ("entered", "running"): 1, ("left", "running"): 1,
        ("entered", "kept"): 1, ("left", "kept"): 1,
    }  # fmt: skip


def test_trouble_comes_where_the_thing_is_asked_for() -> None:
    opened, gate, done = Opened(), threading.Event(), threading.Semaphore(0)
    gate.set()
    ahead = watched(opened, gate, done)
    ahead.begin("broken", keep="x")
    with pytest.raises(OSError, match="no such thing"), ahead.fetched("broken"):
        pass
    ahead.begin("broken", keep="x")
    ahead.begin("fine", keep="x")  # gives up what failed, or was never entered
    with ahead.fetched("fine") as thing:
        assert thing == "FINE"
    assert opened["left", "broken"] == 0
