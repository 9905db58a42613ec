"""Fixtures for all packages."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tiny_clip import write_tiny_model


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data that LESSTEXT_DATA names; tests that need it skip without."""
    folder = os.environ.get("LESSTEXT_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs real data: set LESSTEXT_DATA to its folder")
    return Path(folder)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of the tests' own, also for the processes that they start."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LESSTEXT_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Config path and checkpoint path of a small, randomly initialised open_clip model."""
    return write_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(autouse=True)
def sigchld_as_before() -> Iterator[None]:
    """Take back the handler of SIGCHLD that torch's DataLoader leaves behind.

    Python handlers run on the alternative signal stack, and what OpenVINO makes the kernel save
    with a signal does not fit on it: the next child to end would take the tests with it.
    """
    before = signal.getsignal(signal.SIGCHLD)
    yield
    if signal.getsignal(signal.SIGCHLD) is not before:
        signal.signal(signal.SIGCHLD, before)
