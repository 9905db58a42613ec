"""The examples of the page on extending, installed as a package of one's own would be."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.docs.conftest import RunScript
from tests.lesstext.builders import encoded, sample, write_tar
from tests.module_graph import ROOT

EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.py"))
MAX_LINES = 30


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_short(path: Path) -> None:
    """Lines that hold code: neither blank ones nor comments nor docstrings are counted."""
    tree = _without_docstrings(ast.parse(path.read_text(encoding="utf-8")))
    code = [node for node in ast.walk(tree) if isinstance(node, ast.stmt | ast.expr)]
    assert 10 <= len({node.lineno for node in code}) <= MAX_LINES


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:]
    return tree


def test_the_example_detector_writes_tables(playground: Path, run_script: RunScript) -> None:
    """Stripes of black and white are its text: the upper 30 of 100 rows."""
    pixels = np.full((100, 40, 3), 90, dtype=np.uint8)
    pixels[:30, ::2] = 255
    pixels[:30, 1::2] = 0
    members = sample("striped", encoded(Image.fromarray(pixels))) + sample("plain")
    write_tar(playground / "mine" / "00000.tar", members)
    run_script("bash", "lesstext score mine/ --out scores/ --detector mine --workers 1")
    table = pq.read_table(playground / "scores" / "00000.parquet")
    assert table.column("text_area_ratio").to_pylist() == pytest.approx([0.3, 0.0])
    picky = "lesstext score mine/ --out other/ --detector mine --detector-option contrast=128"
    assert "row-contrast contrast=128" in run_script("bash", f"{picky} --workers 1")
    table = pq.read_table(playground / "other" / "00000.parquet")
    assert table.column("text_area_ratio").to_pylist() == [0.0, 0.0]


def test_the_example_panel_stands_on_the_page(playground: Path, run_script: RunScript) -> None:
    run_script(
        "bash",
        """lesstext score laion/ --out scores/ --workers 1
        lesstext annotate sharpness laion/ --out sharpness/ --workers 1
        lesstext report scores/ sharpness/ --shards laion/ --out report.html""",
    )
    page = (playground / "report.html").read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found is not None
    panel = json.loads(found[1])["panels"]["sharpness"]
    assert panel["whole"]["n"] == len(panel["samples"]) == 16
    assert max(panel["samples"].values()) > 0
    assert '((NAME) => {\nlesstextReport.panel(NAME, {\n      title: "Sharpness"' in page
