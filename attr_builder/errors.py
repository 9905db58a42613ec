"""What attr_builder raises on purpose; all of it descends from LesstextError."""

from __future__ import annotations

from lesstext.errors import LesstextError, UsageError

__all__ = ["RowError", "SetError", "SourceError", "UsageError"]


class SourceError(UsageError):
    """A source cannot be read as asked; the message names the file and, where known, the key."""


class SetError(LesstextError):
    """A built set is missing, incomplete or does not hold what its manifest says."""


class RowError(LesstextError):
    """One image cannot be attacked; `status` is the manifest's word for why."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason

    def __str__(self) -> str:
        return self.reason
