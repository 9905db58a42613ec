"""Claims: two processes that share an output folder never work on one shard at a time.

A claim is a file `.<stem>.claim` beside the table, made exclusively, that names its owner. On one
host a claim holds exactly as long as its process lives. Other hosts' processes cannot be asked
for; their claims hold while they are renewed, which a thread of the owner does.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from lesstext.storage.files import remove_leftovers
from lesstext.storage.owners import Owner, this_process
from lesstext.storage.paths import Location

CLAIM_SUFFIX = ".claim"
RENEW_S = 30.0
FOREIGN_CLAIM_AGE_S = 900.0
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
    released = threading.Event()
    renewer = threading.Thread(target=_renew, args=(path, released), daemon=True)
    renewer.start()
    try:
        yield None
    finally:
        released.set()
        renewer.join()
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
    dead = [path for path in folder.rglob(f".*{CLAIM_SUFFIX}") if not _holds(path, "")]
    return sum(_remove_dead(path) for path in dead)


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
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            if _holds(path, mine.run):
                return _read(path) or _UNREADABLE
            _remove_dead(path, mine.run)
            continue
        try:
            with os.fdopen(descriptor, "w") as file:
                json.dump(asdict(mine), file)
        except OSError:
            path.unlink()
            raise
        return None


def _holds(path: Path, run: str) -> bool:
    try:
        age_s = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return False
    found = _read(path)
    if found is None or not found.owner.is_here:
        same_run = found is not None and bool(run) and found.run == run
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

    try:
        with path.open("rb") as file:
            with suppress(OSError):  # a file system without locks: a tiny gap remains
                fcntl.flock(file, fcntl.LOCK_EX)
            is_same = os.path.samestat(os.fstat(file.fileno()), path.stat())
            if is_same and not _holds(path, run):
                path.unlink()
                return True
    except FileNotFoundError:
        pass
    return False


def _read(path: Path) -> Claim | None:
    """The claim in a file; None while it is being written, or when it is gone."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        return Claim(Owner(**fields["owner"]), fields["run"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _renew(path: Path, released: threading.Event) -> None:
    while not released.wait(RENEW_S):
        with suppress(OSError):
            os.utime(path)
