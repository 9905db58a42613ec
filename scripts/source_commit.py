"""The commit of these sources, as results name it."""

from __future__ import annotations

import subprocess
from pathlib import Path


def source_commit() -> str:
    """The short commit, with `-dirty` where tracked files differ from it, or `unknown`."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()
