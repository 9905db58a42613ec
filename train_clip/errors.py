"""The ways in which a run can fail on purpose; their texts are written for the user."""

from __future__ import annotations

from lesstext.errors import EXIT_INTERRUPTED, LesstextError, UsageError


class ConfigError(UsageError):
    """The run was asked for something it cannot mean."""


class TrainError(LesstextError):
    """A run that started cannot go on; the last checkpoint is still good."""


class DataError(TrainError):
    """The data cannot feed the run: unreadable shards, or too many bad samples."""


class LoaderError(TrainError):
    """The loader stalled or lost a worker; the message says at which sample."""


class NonFiniteError(TrainError):
    """Loss or gradient is not a number; the step's samples were saved beside the run."""


class CheckpointError(TrainError):
    """A checkpoint cannot be written, read, or belongs to another run."""


class Interrupted(TrainError):
    """The run was told to stop (SIGTERM or SIGINT) and saved its place first."""

    exit_code = EXIT_INTERRUPTED
