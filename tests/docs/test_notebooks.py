"""The notebooks run from the first cell to the last, in an empty folder."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[2] / "docs/notebooks"
nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("easyocr_en_models", reason="CRAFT's weights: pip install 'lesstext[weights]'")


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(NOTEBOOKS / "example_data.py", tmp_path)
    # `!attr-builder` is that of this environment.
    binaries = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", os.pathsep.join((binaries, os.environ["PATH"])))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "store it without outputs"
    nbclient.NotebookClient(
        notebook,
        timeout=240,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    ).execute()
    printed = str([cell.get("outputs") for cell in notebook.cells])
    assert "Traceback" not in printed
    assert "error:" not in printed
