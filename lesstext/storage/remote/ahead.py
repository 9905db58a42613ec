"""Remote shards fetched before they are asked for, while the one before them is worked on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Generic, TypeVar

_Key = TypeVar("_Key")
_Thing = TypeVar("_Thing")


class Ahead(Generic[_Key, _Thing]):
    """Enters `fetch(key)` in a thread once `begin` was called; one at a time."""

    def __init__(self, fetch: Callable[[_Key], AbstractContextManager[_Thing]]) -> None:
        self._fetch = fetch
        self._pool = ThreadPoolExecutor(1)
        self._begun: dict[_Key, tuple[AbstractContextManager[_Thing], Future[_Thing]]] = {}

    def begin(self, key: _Key | None, keep: _Key) -> None:
        """Start to fetch `key`, if any; give up what was begun and never asked for, but `keep`."""
        for other in set(self._begun) - {key, keep}:
            context, future = self._begun.pop(other)
            if not future.cancel():
                future.add_done_callback(partial(_leave, context))
        if key is not None and key not in self._begun:
            context = self._fetch(key)
            self._begun[key] = context, self._pool.submit(context.__enter__)

    @contextmanager
    def fetched(self, key: _Key) -> Iterator[_Thing]:
        """What was begun, as soon as it is there, or else a fetch of its own."""
        if key not in self._begun:
            with self._fetch(key) as thing:
                yield thing
            return
        context, future = self._begun.pop(key)
        thing = future.result()  # raises what the fetch raised
        try:
            yield thing
        finally:
            context.__exit__(None, None, None)


def _leave(context: AbstractContextManager[_Thing], done: Future[_Thing]) -> None:
    if done.exception() is None:
        context.__exit__(None, None, None)
