"""The configuration files that pages show are read by the commands that take them."""

from __future__ import annotations

from pathlib import Path

from tests.docs.blocks import blocks
from tests.module_graph import ROOT
from train_clip import load_comparison


def test_the_comparison_is_one(tmp_path: Path) -> None:
    (shown,) = [b for b in blocks(ROOT / "docs" / "comparing.md") if b.language == "toml"]
    path = tmp_path / "arms.toml"
    path.write_text(shown.text, encoding="utf-8")
    comparison = load_comparison(path)
    assert sorted(comparison.arms) == ["all", "control", "filtered"]
    assert comparison.baseline == "all"
    assert {arm.n_steps for arm in comparison.arms.values()} == {300}
