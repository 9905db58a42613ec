"""Randomness that depends on (seed, key) alone: never on workers, order or library versions."""

from __future__ import annotations

import hashlib


class Draw:
    """A stream of numbers for one purpose of one image.

    >>> Draw(0, "a", "place").uniform() == Draw(0, "a", "place").uniform()
    True
    """

    def __init__(self, seed: int, key: str, purpose: str) -> None:
        self._prefix = f"{seed}\0{purpose}\0{key}\0".encode()
        self._count = 0

    def integer(self, below: int) -> int:
        """A whole number in [0, below); the modulo bias of 64 bits is below 1e-15 here."""
        digest = hashlib.blake2b(self._prefix + str(self._count).encode(), digest_size=8).digest()
        self._count += 1
        return int.from_bytes(digest, "big") % below

    def uniform(self) -> float:
        """A number in [0, 1)."""
        return self.integer(1 << 53) / (1 << 53)
