"""A short campaign; the long one is `scripts/fuzz.sh`. And proof that a campaign finds things."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz.broken import TARGETS as BROKEN
from tests.fuzz.campaign import main, mixed_jobs, run_campaign
from tests.fuzz.targets import TARGETS


def test_a_short_campaign_finds_nothing() -> None:
    summary = run_campaign(list(mixed_jobs(list(TARGETS), 160)), seed=1, n_workers=2)
    assert summary.findings == []
    assert summary.n_cases == 160 and summary.n_violations == 0
    words = {name: set(target.words) for name, target in summary.targets.items()}
    assert words["images"] >= {"decoded", "decode_error"}
    assert words["specs"] >= {"expanded", "refused"}
    assert words["tars"] >= {"whole", "damaged"}
    assert words["tables"] >= {"scored", "selected", "refused: TableError"}
    assert words["selections"] >= {"exported", "refused: TableError"}
    assert words["settings"] >= {"exported", "scored"}
    assert words["where"] >= {"selected", "refused: UsageError"}
    assert words["toml"] >= {"refused: ConfigError"}


def test_a_campaign_finds_what_must_never_happen() -> None:
    jobs = [(name, number) for number in range(2) for name in BROKEN]
    summary = run_campaign(
        jobs, seed=0, n_workers=2, time_limit_s=2.0, registry="tests.fuzz.broken"
    )
    found = {name: dict(target.words) for name, target in summary.targets.items()}
    assert found == {
        "sound": {"done": 2},
        "refused": {"refused: OSError": 2},
        "traceback": {"traceback": 2},
        "accounting": {"accounting": 2},
        "deletes": {"changed": 2},
        "overwrites": {"changed": 2},
        "litters": {"changed": 2},
        "relinks": {"changed": 2},
        "hangs": {"hang": 2},
        "dies": {"died": 2},
        "unsealed": {"target": 2},
    }
    assert summary.n_violations == 18 == len(summary.findings)
    (text, _) = [finding.text for finding in summary.findings if finding.kind == "traceback"]
    assert "nobody foresaw this" in text and "broken.py" in text


def test_a_case_is_known_by_its_seed_and_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--only", "tars:5", "--seed", "1", "--out", str(tmp_path / "fuzz.json")]) == 0
    told = json.loads((tmp_path / "fuzz.json").read_text())
    assert told == json.loads(capsys.readouterr().out)
    assert (told["cases"], told["violations"], told["seed"]) == (1, 0, 1)


def test_a_campaign_goes_on_where_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def campaign(n_cases: int, out: Path) -> dict[str, Any]:
        options = ["--targets", "specs,toml", "--seed", "5", "--workers", "1"]
        assert main([*options, "--cases", str(n_cases), "--out", str(out)]) == 0
        told: dict[str, Any] = json.loads(out.read_text())
        for target in told["targets"].values():
            del target["slowest_s"]
        return {name: value for name, value in told.items() if name != "seconds"}

    monkeypatch.setattr("tests.fuzz.campaign._PART", 8)
    campaign(8, tmp_path / "parts.json")
    parts = campaign(20, tmp_path / "parts.json")
    assert parts == campaign(20, tmp_path / "whole.json") and parts["cases"] == 20
