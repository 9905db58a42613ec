"""Every error that lesstext raises on purpose; their texts are written for the user."""

from __future__ import annotations

from typing import Literal

FailureStatus = Literal[
    "missing_image",
    "duplicate_key",
    "decode_error",
    "unsupported_format",
    "too_large",
    "detector_error",
    "annotator_error",
]


EXIT_INTERRUPTED = 130


class LesstextError(Exception):
    """Base of all errors below; catching it never hides a programming mistake."""

    exit_code = 1


class UsageError(LesstextError):
    """The command was asked for something it cannot mean or must not do."""

    exit_code = 2


class ShardError(LesstextError):
    """A shard as a whole cannot be read or written; the message names it."""

    def __init__(self, shard: str, reason: str) -> None:
        super().__init__(shard, reason)
        self.shard = shard
        self.reason = reason

    def __str__(self) -> str:
        return f"shard {self.shard}: {self.reason}"


class ImageError(LesstextError):
    """One image cannot be used; `status` is the score table's word for why."""

    def __init__(self, status: FailureStatus, reason: str) -> None:
        super().__init__(status, reason)
        self.status: FailureStatus = status
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class AnnotatorError(LesstextError):
    """An annotator cannot be loaded or cannot run as asked (its model, device, inputs)."""


class DetectorError(AnnotatorError):
    """A detector cannot be loaded or cannot run as asked (weights, device, settings)."""


class TableError(LesstextError):
    """A table or selection is missing, unreadable or belongs to other data."""


class StorageError(LesstextError, OSError):
    """A file on object storage cannot be read or written; an OSError, as for a local file."""


class MissingFileError(StorageError, FileNotFoundError):
    """There is no such file on object storage."""
