"""What is tried again, what is not, and for how long."""

from __future__ import annotations

import errno
import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lesstext.errors import MissingFileError, StorageError
from lesstext.shards.specs import expand_specs, local_copy
from lesstext.storage.remote import fetching, retrying
from lesstext.storage.remote.retrying import is_transient
from tests.lesstext.conftest import Score


class HttpError(Exception):
    """Like aiohttp's and gcsfs's."""

    def __init__(self, status: Any) -> None:
        self.status = status


HttpError.__module__ = "aiohttp.client_exceptions"


class BotoError(Exception):
    """Like botocore's ClientError."""

    def __init__(self, status: int) -> None:
        self.response = {"ResponseMetadata": {"HTTPStatusCode": status}}


class NoCredentialsError(Exception):
    """Like botocore's."""


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError("connection reset"), True),
        (TimeoutError(), True),
        (EOFError("3 of 5 bytes arrived"), True),
        (HttpError(503), True),
        (HttpError(429), True),
        (HttpError(416), False),
        (BotoError(500), True),
        (BotoError(403), False),
        (caused(OSError("I/O error"), BotoError(404)), False),
        (caused(PermissionError("later"), BotoError(503)), True),
        (FileNotFoundError("x"), False),
        (PermissionError("x"), False),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (NoCredentialsError(), False),
        (caused(OSError("I/O error"), NoCredentialsError()), False),
        (caused(OSError("I/O error"), PermissionError("x")), False),
        (caused(OSError("I/O error"), OSError(errno.ENOSPC, "No space left on device")), False),
    ],
    ids=repr,
)
def test_what_may_pass_is_told_from_what_stays(error: Exception, expected: bool) -> None:
    assert is_transient(error) is expected


@pytest.mark.parametrize("kind", [HttpError, BotoError])
def test_statuses_of_trouble_that_passes(kind: Any) -> None:
    passing = {status for status in range(400, 600) if is_transient(kind(status))}
    assert passing == {408, 425, 429, 500, 502, 503, 504}
    assert is_transient(kind(0)) and is_transient(kind(None))  # no status: judged by its type


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses made, none of which is waited for."""
    made: list[float] = []
    monkeypatch.setattr("lesstext.storage.remote.retrying.time.sleep", made.append)
    return made


def test_pauses_grow_and_end(pauses: list[float]) -> None:
    def fail() -> None:
        raise OSError("reset")

    with pytest.raises(StorageError, match=r"cannot read x: reset \(8 attempts\)"):
        retrying.retrying("cannot read x", fail)
    assert len(pauses) == 7
    for attempt, pause_s in enumerate(pauses):
        longest = min(30.0, 0.5 * 2**attempt)
        assert longest / 2 <= pause_s <= longest


def test_a_permanent_error_and_a_mistake_come_at_once(pauses: list[float]) -> None:
    def missing() -> None:
        raise FileNotFoundError("bucket/x")

    def mistake() -> None:
        raise TypeError("not ours to hide")

    with pytest.raises(MissingFileError, match="cannot read x: bucket/x") as caught:
        retrying.retrying("cannot read x", missing)
    assert isinstance(caught.value, FileNotFoundError)
    with pytest.raises(TypeError):
        retrying.retrying("cannot read x", mistake)
    assert pauses == []


def test_a_stream_that_breaks_off_is_read_again(
    tmp_path: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoRanges:
        """Sends the whole file whatever is asked for, and at first not all of it."""

        n_streams = 0

        def cat_file(self, path: str, start: int, end: int) -> bytes:
            return b"x" * 100

        def get_file(self, path: str, target: str) -> None:
            self.n_streams += 1
            Path(target).write_bytes(b"x" * (40 if self.n_streams < 3 else 100))

        def info(self, path: str) -> dict[str, Any]:
            return {"size": 100, "ETag": '"e"'}

        def invalidate_cache(self, path: str) -> None:
            pass

    server = NoRanges()
    monkeypatch.setattr(fetching, "RANGE_BYTES", 30)
    monkeypatch.setattr(fetching, "resolve", lambda url: (server, url))
    assert fetching.fetch("x://y", tmp_path / "y") == fetching.RemoteStat(100, "e")
    assert (tmp_path / "y").read_bytes() == b"x" * 100
    assert len(pauses) == 2


@pytest.mark.parametrize("size", [0, 1, 30, 31, 100])
def test_a_file_is_fetched_once_range_by_range(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    data, asked = bytes(range(size)), list[tuple[int, int]]()

    class Ranges:
        """Has no `get_file`."""

        def cat_file(self, path: str, start: int, end: int) -> bytes:
            asked.append((start, end))
            return data[start:end]

        def info(self, path: str) -> dict[str, Any]:
            return {"size": size, "ETag": '"e"'}

        def invalidate_cache(self, path: str) -> None:
            pass

    monkeypatch.setattr(fetching, "RANGE_BYTES", 30)
    monkeypatch.setattr(fetching, "resolve", lambda url: (Ranges(), url))
    assert fetching.fetch("x://y", tmp_path / "y") == fetching.RemoteStat(size, "e")
    assert (tmp_path / "y").read_bytes() == data
    assert sorted(asked) == [(start, min(start + 30, size)) for start in range(0, size, 30)]


@pytest.fixture
def web(shards: Path) -> Iterator[str]:
    """A web server that knows neither ranges nor ETags."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            pass

    handler = partial(Quiet, directory=str(shards))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_web_server_without_ranges_is_read_as_a_stream(
    web: str, shards: Path, score: Score, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("aiohttp", reason="reading http needs aiohttp")
    monkeypatch.setattr(fetching, "RANGE_BYTES", 4096)
    (source,) = expand_specs([f"{web}/b/00000.tar"])
    with local_copy(source) as path:
        assert path.read_bytes() == (shards / "b/00000.tar").read_bytes()
    summary = score(f"{web}/a/{{00000,00001,00009}}.tar")
    assert [report.shard for report in summary.failed] == ["00009"]
    assert summary.counts == {"ok": 20}
    assert score(f"{web}/a/{{00000,00001}}.tar").n_done_before == 2
