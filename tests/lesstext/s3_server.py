"""A real S3 protocol server (moto's), with trouble that tests can order for coming requests."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.request import Request as HttpRequest
from urllib.request import urlopen

_WsgiApp = Callable[[dict[str, Any], Any], Iterable[bytes]]


@dataclass(slots=True)
class Request:
    """What a fault may look at; `n_bytes` is what was answered."""

    method: str
    path: str
    number: int
    n_bytes: int = 0


@dataclass(slots=True)
class Faults:
    """Trouble for requests: a status to answer with, bytes to cut off, seconds to dawdle.

    Each function gets the request and returns how much of that trouble it shall have (0: none).
    """

    status: Callable[[Request], int] = lambda _: 0
    cut_bytes: Callable[[Request], int] = lambda _: 0
    delay_s: Callable[[Request], float] = lambda _: 0.0
    n_injected: int = 0
    log: list[Request] = field(default_factory=list)


class S3Server:
    """Serves buckets from memory at `url`; `faults` may be replaced at any time."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.faults = Faults()

    def requests(self, method: str, suffix: str) -> int:
        """How many requests of this kind came since `faults` was set."""
        return sum(r.method == method and r.path.endswith(suffix) for r in self.faults.log)

    def n_bytes(self, suffix: str) -> int:
        """How many bytes of such files were served since `faults` was set."""
        return sum(r.n_bytes for r in self.faults.log if r.path.endswith(suffix))


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Start a server on a free port of this machine."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class QuietHandler(WSGIRequestHandler):
        def log(self, *arguments: Any) -> None:
            pass

    holder: list[S3Server] = []
    app = _Faulty(DomainDispatcherApplication(create_backend_app), holder)
    web = make_server("127.0.0.1", 0, app, threaded=True, request_handler=QuietHandler)
    thread = threading.Thread(target=web.serve_forever, daemon=True)
    thread.start()
    holder.append(S3Server(f"http://127.0.0.1:{web.server_port}"))
    try:
        yield holder[0]
    finally:
        holder[0].faults = Faults()
        urlopen(
            HttpRequest(f"{holder[0].url}/moto-api/reset", method="POST")
        ).close()  # all servers'
        web.shutdown()
        thread.join()
        web.server_close()


@contextmanager
def s3_bucket() -> Iterator[S3Server]:
    """A server with the bucket `bucket`; the environment points every S3 client at it."""
    import pytest
    import s3fs

    with pytest.MonkeyPatch.context() as patch, s3_server() as running:
        patch.setenv("AWS_ENDPOINT_URL", running.url)
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_MAX_ATTEMPTS", "1")  # the client's own retries would hide ours
        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().mkdir("bucket")
        yield running
        s3fs.S3FileSystem.clear_instance_cache()


class _Faulty:
    """Wraps a WSGI application and spoils what `faults` say."""

    def __init__(self, app: _WsgiApp, holder: list[S3Server]) -> None:
        self._app, self._holder = app, holder
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        faults = self._holder[0].faults
        with self._lock:
            request = Request(
                environ["REQUEST_METHOD"], environ.get("PATH_INFO", ""), len(faults.log)
            )
            faults.log.append(request)
            status, cut = faults.status(request), faults.cut_bytes(request)
            delay_s = faults.delay_s(request)
            faults.n_injected += bool(status or cut or delay_s)
        time.sleep(delay_s)
        if status:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response(f"{status} Injected", [("Content-Type", "application/xml")])
            return [] if request.method == "HEAD" else [_error_body(status)]
        body = b"".join(self._app(environ, start_response))
        request.n_bytes = len(body) - cut
        return [body[: request.n_bytes]]  # fewer bytes than the Content-Length promises


def _error_body(status: int) -> bytes:
    code = {403: "AccessDenied", 500: "InternalError", 503: "ServiceUnavailable"}[status]
    return f"<Error><Code>{code}</Code><Message>injected</Message></Error>".encode()
