"""Which process made a temporary file or a claim, and whether it still lives."""

from __future__ import annotations

import hashlib
import os
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@cache
def this_host() -> str:
    """Twelve hexadecimal digits for the set of processes in which our process ids mean something.

    Containers that share a folder, or one machine before and after a restart, are different hosts.
    """
    facts = [socket.gethostname()]
    for path in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        try:
            facts.append(os.readlink(path) if path.endswith("pid") else Path(path).read_text())
        except OSError:
            continue  # not Linux: the host's name has to do
    return hashlib.blake2b("\n".join(facts).encode(), digest_size=6).hexdigest()


@dataclass(frozen=True, slots=True)
class Owner:
    """A process; `started` tells it from a later one with the same number, where that is known."""

    host: str
    pid: int
    started: str | None = None

    @property
    def is_here(self) -> bool:
        """Whether it ran on this host, so that `is_alive` can tell."""
        return self.host == this_host()

    @property
    def is_alive(self) -> bool:
        """Whether the process still runs; only to be asked where `is_here`."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        state, started = _proc_stat(self.pid)
        return state != "Z" and (self.started is None or started in (None, self.started))


def this_process() -> Owner:
    """The process that asks."""
    return Owner(this_host(), os.getpid(), _proc_stat(os.getpid())[1])


def name_tag() -> str:
    """`HOST-PID` of this process, for names of temporary files."""
    return f"{this_host()}-{os.getpid()}"


def owner_from_tag(tag: str) -> Owner | None:
    """The process that `name_tag` spoke of; None for any other text."""
    host, _, pid = tag.partition("-")
    return Owner(host, int(pid)) if host and pid.isdigit() else None


def _proc_stat(pid: int) -> tuple[str | None, str | None]:
    """State letter and start time of a process, where /proc tells."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return fields[0], fields[19]
    except (OSError, IndexError):
        return None, None
