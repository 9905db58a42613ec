"""Claims: two processes that share an output folder never work on one shard at a time.

A claim is a file `.<stem>.claim` beside the table that appears whole and exclusively, and names
its owner. On one host a claim holds exactly as long as its process lives. Other hosts' processes
cannot be asked for; their claims hold while they are renewed, which a thread of the owner does.
What cannot be read as a claim holds for seconds: some file systems let one be seen half written.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from lesstext.storage.files import PARTIAL_SUFFIX, remove_leftovers
from lesstext.storage.owners import Owner, name_tag, this_process
from lesstext.storage.paths import Location

CLAIM_SUFFIX = ".claim"
RENEW_S = 30.0
FOREIGN_CLAIM_AGE_S = 900.0
UNREADABLE_CLAIM_AGE_S = 5.0
_MAX_CLAIM_BYTES = 4096
_MAX_PID = 2**31 - 1
_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK)
_WAIT_S = 1.0


@dataclass(frozen=True, slots=True)
class Claim:
    """Who works on a file, and in which run."""

    owner: Owner
    run: str

    def __str__(self) -> str:
        return f"process {self.owner.pid} on host {self.owner.host}"


@contextmanager
def claim(target: Location, run: str = "") -> Iterator[Claim | None]:
    """Claim `target` for this process while the block runs; yields another's claim where it holds.

    A claim of the same `run` does not hold: that attempt is known to be dead.
    """
    path = claim_path(target)
    holder = _take(path, Claim(this_process(), run))
    if holder is not None:
        yield holder
        return
    _renewer.add(path)
    try:
        yield None
    finally:
        _renewer.discard(path)
        if (mine := _read(path)) is not None and mine.owner == this_process():
            path.unlink(missing_ok=True)


@contextmanager
def claim_when_free(target: Location, run: str = "") -> Iterator[None]:
    """Like `claim`, but waits while another process holds the claim."""
    while True:
        with claim(target, run) as holder:
            if holder is None:
                yield
                return
        time.sleep(_WAIT_S)


def claim_path(target: Location) -> Path:
    """Where the claim lies: beside a local target; for a remote one in this host's TMPDIR."""
    name = f".{target.name.rpartition('.')[0] or target.name}{CLAIM_SUFFIX}"
    if isinstance(target, Path):
        return target.with_name(name)
    digest = hashlib.blake2b(str(target).encode(), digest_size=8).hexdigest()
    return Path(tempfile.gettempdir()) / f"lesstext-claims-{os.getuid()}" / f"{digest}{name}"


def holder_of(target: Location, run: str = "") -> Claim | None:
    """The claim that keeps this process off `target`; None when it is free."""
    path = claim_path(target)
    return (_read(path) or _UNREADABLE) if _holds(path, run) else None


def remove_dead_claims(folder: Location) -> int:
    """Delete claims below `folder` whose processes no longer live; returns how many."""
    if not isinstance(folder, Path):
        return 0
    n_removed = 0
    for path in folder.rglob(f".*{CLAIM_SUFFIX}"):
        with suppress(OSError):  # another user's, or no file at all: it costs nobody anything
            n_removed += not _holds(path, "") and _remove_dead(path)
    return n_removed


def clean_up(out: Location) -> None:
    """Remove what killed processes left below `out`: partial files and claims."""
    remove_leftovers(out)
    remove_dead_claims(out)


_UNREADABLE = Claim(Owner("unknown", 0), "")


def _take(path: Path, mine: Claim) -> Claim | None:
    """Make the claim file and return None, or return the claim that holds."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _make(path, json.dumps(asdict(mine)))
        except FileExistsError:
            if _holds(path, mine.run):
                return _read(path) or _UNREADABLE
            _remove_dead(path, mine.run)
        else:
            return None


def _make(path: Path, text: str) -> None:
    """Let a file appear with all its text; raises FileExistsError where there is one already.

    A rename would replace what is there, so the finished file gets its name by a hard link.
    """
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.{name_tag()}{PARTIAL_SUFFIX}")
    try:
        partial.write_text(text, encoding="utf-8")
        os.link(partial, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    finally:
        partial.unlink(missing_ok=True)


def _holds(path: Path, run: str) -> bool:
    try:
        age_s = abs(time.time() - path.lstat().st_mtime)  # a time to come is as far from now
    except FileNotFoundError:
        return False
    found = _read(path)
    if found is None and (path.is_symlink() or os.access(path, os.R_OK)):
        return age_s < UNREADABLE_CLAIM_AGE_S
    if found is None:  # another user's, which we may not read
        return age_s < FOREIGN_CLAIM_AGE_S
    if not found.owner.is_here:
        same_run = bool(run) and found.run == run
        return age_s < FOREIGN_CLAIM_AGE_S and not same_run
    if found.owner == this_process():
        return False
    return found.owner.is_alive


def _remove_dead(path: Path, run: str = "") -> bool:
    """Delete a claim that does not hold, unless another process did so first.

    The lock on the file itself makes sure that what is deleted is still the dead claim, not the
    one that another process made in its place.
    """
    import fcntl

    if not _is_plain_file(path):
        path.unlink(missing_ok=True)
        return True
    try:
        with _opened(path) as file:
            with suppress(OSError):  # a file system without locks: a tiny gap remains
                fcntl.flock(file, fcntl.LOCK_EX)
            is_same = os.path.samestat(os.fstat(file.fileno()), path.lstat())
            if is_same and not _holds(path, run):
                path.unlink()
                return True
    except FileNotFoundError:
        pass
    return False


def _is_plain_file(path: Path) -> bool:
    """Whether a file lies here that may be opened, or nothing."""
    return not path.is_symlink() and (path.is_file() or not path.exists())


def _read(path: Path) -> Claim | None:
    """The claim in a file; None when it is gone or is none."""
    try:
        with _opened(path) as file:
            fields = json.loads(file.read(_MAX_CLAIM_BYTES))
        owner, run = Owner(**fields["owner"]), fields["run"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    is_sound = (
        isinstance(owner.host, str)
        and type(owner.pid) is int
        and 0 < owner.pid <= _MAX_PID  # 0 and below mean groups of processes, which always live
        and isinstance(owner.started, str | None)
        and isinstance(run, str)
    )
    return Claim(owner, run) if is_sound else None


def _opened(path: Path) -> BinaryIO:
    """The file itself, opened without waiting: what lies there may be a pipe or a link."""
    return os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW), "rb")


class Renewer:
    """Renews all claims of this process from one thread: one for each would cost more than a small
    shard does."""

    def __init__(self) -> None:
        self._paths: set[Path] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, path: Path) -> None:
        with self._lock:
            self._paths.add(path)
            if self._thread is None or not self._thread.is_alive():  # as after a fork
                self._thread = threading.Thread(target=self._renew, daemon=True)
                self._thread.start()

    def discard(self, path: Path) -> None:
        with self._lock:
            self._paths.discard(path)

    def _renew(self) -> None:
        while True:
            time.sleep(RENEW_S)
            with self._lock:  # a claim that is let go is not touched again
                for path in self._paths:
                    with suppress(OSError):
                        os.utime(path)


_renewer = Renewer()
