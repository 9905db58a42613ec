"""The annotator of mentions: its rows, their sameness however it runs, what it refuses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from lesstext.annotators import mentions as module
from lesstext.annotators.mentions import Mentions
from lesstext.engines.local import InlineEngine
from lesstext.engines.whole_run import RunConfig, RunSummary, execute, plan
from lesstext.entities.kb_writing import write_kb
from lesstext.entities.knowledge_base import Entity, open_kb, require_same_kb
from lesstext.entities.tagging import find_model
from lesstext.errors import UsageError
from lesstext.verbs import annotate
from tests.lesstext.builders import sample, write_tar

LISTS = Mentions(tagger="none")
needs_spacy = pytest.mark.skipif(find_model("auto") is None, reason="no spaCy model is installed")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LESSTEXT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = tmp_path / "shards"
    for shard in range(3):
        members = [
            member
            for i in range(8)
            for member in sample(f"s{i}", caption=f"a dog and {i + 2} cats on shelf {shard}")
        ]
        write_tar(folder / f"{shard:05d}.tar", members)
    return folder


def run(shards: Path, out: Path, annotator: Mentions = LISTS, **more: Any) -> RunSummary:
    config = RunConfig(shards=(str(shards),), out=out, annotator=annotator, device="cpu", **more)
    todo = plan(config)
    return execute(config, todo, InlineEngine(todo.annotator))


def rows(table: Path) -> dict[str, dict[str, Any]]:
    return {row["key"]: row for row in pq.read_table(table).to_pylist()}


def found(row: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["field"], one["text"]) for one in row["mentions"]]


def test_all_captions_of_a_sample_are_looked_at_once(tmp_path: Path) -> None:
    members = [
        *sample("both", caption="a dog", caption_=1, captions=["a dog", "a cat", "two cats"]),
        *sample("json", caption=None, caption_=1),
        *sample("decomposed", caption="a cafe\u0301 with a dog"),
        *sample("none", caption=""),
        ("bytes.png", b"x"),
        ("bytes.txt", b"\xff\xfe"),
        *sample("long", caption="a dog. " * 30_000),
        *sample("both", caption="a dog"),
    ]
    write_tar(tmp_path / "in" / "a.tar", members)
    run(tmp_path / "in", tmp_path / "out", replace(LISTS, max_characters=1000))
    table = pq.read_table(tmp_path / "out" / "a.parquet").to_pylist()
    by_key = {row["key"]: row for row in reversed(table)}
    assert found(by_key["both"]) == [
        ("txt", "dog"),
        ("captions[1]", "cat"),
        ("captions[2]", "cats"),
    ]
    assert by_key["json"]["mentions"] == by_key["none"]["mentions"] == []
    assert by_key["bytes"]["status"] == "annotator_error"
    assert by_key["bytes"]["mentions"] is None
    assert [row["status"] for row in table if row["key"] == "both"] == ["ok", "duplicate_key"]
    assert by_key["long"]["n_mentions"] == 143
    assert "the first 1000 were looked at" in by_key["long"]["error"]
    (dog,) = by_key["decomposed"]["mentions"]
    assert (dog["start"], dog["stop"], dog["source"]) == (15, 18, "alias")
    assert dog["entities"][0]["entity_id"] == "02086723-n"
    assert sum(one["weight"] for one in dog["entities"]) <= 1 + 1e-6


def test_tables_are_the_same_for_any_number_of_workers(shards: Path, tmp_path: Path) -> None:
    run(shards, tmp_path / "one")
    annotate(str(shards), tmp_path / "two", LISTS, device="cpu", workers=2)
    for table in sorted((tmp_path / "one").glob("*.parquet")):
        assert table.read_bytes() == (tmp_path / "two" / table.name).read_bytes()


def test_a_killed_run_is_taken_up_again(shards: Path, tmp_path: Path) -> None:
    run(shards, tmp_path / "whole")
    command = [sys.executable, "-m", "lesstext", "entities", "find", str(shards)]
    command += ["--out", str(tmp_path / "out"), "--tagger", "none", "--workers", "1"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while process.poll() is None and not list((tmp_path / "out").glob("*.parquet")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    n_done = len(list((tmp_path / "out").glob("*.parquet")))
    assert n_done >= 1
    assert run(shards, tmp_path / "out").n_done_before == n_done
    for table in sorted((tmp_path / "whole").glob("*.parquet")):
        assert table.read_bytes() == (tmp_path / "out" / table.name).read_bytes()


def one_entity(path: Path, name: str) -> str:
    entity = Entity(entity_id="Q1", name=name, aliases=[name], prior=1, depictable=True)
    write_kb([entity], path, format="table", source="-", version="", counts=Counter())
    return str(path)


def test_a_knowledge_base_made_anew_is_refused_over_old_mentions(
    shards: Path, tmp_path: Path
) -> None:
    kb = one_entity(tmp_path / "kb.parquet", "dog")
    first = replace(LISTS, kb=kb)
    run(shards, tmp_path / "out", first)
    table = tmp_path / "out" / "00000.parquet"
    assert found(rows(table)["s0"]) == [("txt", "dog")]
    made = first.identify(placement_cpu())
    one_entity(tmp_path / "kb.parquet", "cat")
    with pytest.raises(UsageError, match=r"made otherwise .*kb="):
        run(shards, tmp_path / "out", first)
    with pytest.raises(UsageError, match="made with another knowledge base"):
        require_same_kb(open_kb(tmp_path / "kb.parquet"), made, table)
    run(shards, tmp_path / "out", first, rescore=True)
    assert found(rows(table)["s0"]) == [("txt", "cats")]


def placement_cpu() -> Any:
    from lesstext.annotators.base import Placement

    return Placement()


def test_the_same_rows_in_another_file_are_the_same_knowledge_base(
    shards: Path, tmp_path: Path
) -> None:
    run(shards, tmp_path / "out", replace(LISTS, kb=one_entity(tmp_path / "a.parquet", "dog")))
    again = replace(LISTS, kb=one_entity(tmp_path / "b.parquet", "dog"))
    assert run(shards, tmp_path / "out", again).n_done_before == 3


def test_without_a_tagger_it_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "find_model", lambda asked: None)
    module._warn_once.cache_clear()
    assert ":tagger=none:" in Mentions().identify(placement_cpu())
    assert "no tagger is installed" in caplog.text


@needs_spacy
def test_a_tagger_and_names_of_ner(tmp_path: Path) -> None:
    captions = {
        "verb": "The man likes to fish with a fish.",
        "name": "Barack Obama visits a museum in Berlin.",
    }
    members = [member for key, text in captions.items() for member in sample(key, caption=text)]
    write_tar(tmp_path / "in" / "a.tar", members)
    annotator = Mentions(tagger="spacy", ner="spacy")
    assert "tagger=spacy-" in annotator.identify(placement_cpu())
    run(tmp_path / "in", tmp_path / "out", annotator)
    by_key = rows(tmp_path / "out" / "a.parquet")
    assert [text for _, text in found(by_key["verb"])] == ["man", "fish"]
    sources = [(one["text"], one["source"]) for one in by_key["name"]["mentions"]]
    assert sources == [("Barack Obama", "ner"), ("museum", "alias"), ("Berlin", "ner")]
    assert by_key["name"]["mentions"][0]["entities"] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tagger": "nltk"}, "auto, none or spacy"),
        ({"tagger": "spacy:no_such_model"}, "no_such_model"),
        ({"ner": "auto"}, "--ner"),
        ({"max_characters": 0}, "--max-characters"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Mentions(**options)


def test_many_processes_make_the_index_once(tmp_path: Path) -> None:
    code = (
        "from lesstext.entities.index_cache import open_index;"
        "from lesstext.entities.knowledge_base import open_kb;"
        "print(len(open_index(open_kb()).ids))"
    )
    environment = {**os.environ, "LESSTEXT_CACHE": str(tmp_path)}
    both = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    assert len({process.communicate()[0] for process in both}) == 1
    assert [process.returncode for process in both] == [0, 0]
    assert len(list(tmp_path.glob("*.arrow"))) == 1
