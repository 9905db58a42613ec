"""Targets that do what must never happen: the campaign has to find each of them."""

from __future__ import annotations

import os
from collections.abc import Callable

from tests.fuzz.case import Case, Target, Violation


def _sealed(act: Callable[[Case], object]) -> Target:
    def target(case: Case) -> str:
        (case.inputs / "data").write_bytes(b"precious")
        (case.folder / "link").symlink_to("in/data")
        case.seal()
        case.out.mkdir()
        act(case)
        return "done"

    return target


def _raise(case: Case) -> None:
    raise RecursionError("nobody foresaw this")


def _refuse(case: Case) -> None:
    raise OSError("No space left on device")


def _object(case: Case) -> None:
    raise Violation("accounting", "two rows for three samples")


def _wait(case: Case) -> None:
    while True:
        pass


TARGETS: dict[str, Target] = {
    "sound": _sealed(lambda case: (case.out / "table").write_bytes(case.rng.randbytes(3))),
    "refused": _sealed(_refuse),
    "traceback": _sealed(_raise),
    "accounting": _sealed(_object),
    "deletes": _sealed(lambda case: (case.inputs / "data").unlink()),
    "overwrites": _sealed(lambda case: (case.inputs / "data").write_bytes(b"Precious")),
    "litters": _sealed(lambda case: (case.folder / "in.partial").write_bytes(b"")),
    "relinks": _sealed(lambda case: (case.folder / "link").rename(case.folder / "link2")),
    "hangs": _sealed(_wait),
    "dies": _sealed(lambda case: os._exit(3)),
    "unsealed": lambda case: "done",
}
