"""Requests to object storage: transient errors are waited out, permanent ones come at once."""

from __future__ import annotations

import errno
import logging
import random
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from lesstext.errors import MissingFileError, StorageError

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")

MAX_ATTEMPTS = 8
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0  # eight attempts wait a minute in all
_LONG_PAUSE_S = 3.0  # worth telling a user who waits

_TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_PERMANENT_ERRNO = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.ENAMETOOLONG, errno.EACCES}
)
_PERMANENT_TYPES = (
    FileNotFoundError, PermissionError, FileExistsError, IsADirectoryError, NotADirectoryError,
    ImportError, ValueError,
)  # fmt: skip
_PERMANENT_NAMES = frozenset({"NoCredentialsError", "PartialCredentialsError", "NoRegionError"})
_CLIENT_LIBRARIES = frozenset(
    {"aiobotocore", "aiohttp", "botocore", "fsspec", "gcsfs", "google", "http", "httpx"}
    | {"huggingface_hub", "requests", "s3fs", "urllib3"}
)


def retrying(what: str, action: Callable[[], _Result]) -> _Result:
    """The result of `action`, done again after transient errors with growing, jittered pauses.

    Raises MissingFileError where there is no such file and StorageError for other permanent
    errors and when the attempts are used up; both say `what` was tried.
    """
    for attempt in range(1, MAX_ATTEMPTS + 1):
        try:
            return action()
        except Exception as error:  # each file system has errors of its own: judged by their kind
            if isinstance(error, StorageError) or not _is_from_storage(error):
                raise
            if not is_transient(error):
                raise _as_storage_error(what, error) from error
            if attempt == MAX_ATTEMPTS:
                raise StorageError(f"{what}: {_text(error)} ({attempt} attempts)") from error
            pause_s = _pause_s(attempt)
            level = logging.INFO if pause_s < _LONG_PAUSE_S else logging.WARNING
            _log.log(level, "%s: %s; trying again in %.0f s", what, _text(error), pause_s)
        time.sleep(pause_s)
    raise AssertionError("the last attempt returns or raises")


def is_transient(error: BaseException) -> bool:
    """Whether the same request may succeed a little later."""
    chain = list(_chain(error))
    statuses = [status for link in chain if (status := _status(link)) is not None]
    if statuses:
        return statuses[0] in _TRANSIENT_STATUS
    if any(isinstance(link, _PERMANENT_TYPES) for link in chain):
        return False
    if any(type(link).__name__ in _PERMANENT_NAMES for link in chain):
        return False
    return not any(isinstance(e, OSError) and e.errno in _PERMANENT_ERRNO for e in chain)


def _is_from_storage(error: Exception) -> bool:
    """False for programming mistakes, which must not be dressed up as trouble with storage."""
    library = type(error).__module__.partition(".")[0]
    known = (OSError, EOFError, ImportError, ValueError, TimeoutError)
    return isinstance(error, known) or library in _CLIENT_LIBRARIES


def _as_storage_error(what: str, error: Exception) -> StorageError:
    is_missing = any(isinstance(e, FileNotFoundError) or _status(e) == 404 for e in _chain(error))
    return (MissingFileError if is_missing else StorageError)(f"{what}: {_text(error)}")


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__


def _status(error: BaseException) -> int | None:
    """The HTTP status that an error of any of the client libraries carries."""
    response: Any = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        names = ("status", "status_code", "code")
        values = (getattr(place, name, None) for place in (error, response) for name in names)
        status = next((value for value in values if isinstance(value, int)), None)
    return status if isinstance(status, int) and 100 <= status < 600 else None


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__


def _pause_s(attempt: int) -> float:
    """Doubles with each attempt; the jitter keeps many workers from coming back together."""
    pause_s: float = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (attempt - 1))
    return pause_s * random.uniform(0.5, 1.0)
