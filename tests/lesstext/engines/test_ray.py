"""The Ray engine: the same tables and shards as the local one, whatever happens to its actors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lesstext.annotators.base import Annotator, Placement
from lesstext.annotators.mentions import Mentions
from lesstext.annotators.text_area import TextArea
from lesstext.engines import engine_for, find_workers
from lesstext.engines.whole_run import RunConfig, RunSummary, execute, plan
from lesstext.errors import AnnotatorError, UsageError
from lesstext.export.plan import ExportConfig
from lesstext.export.whole_run import export
from lesstext.policies import text_area
from lesstext.storage.guard import MARKER
from lesstext.tables.selecting import select
from tests.lesstext.builders import encoded, picture, sample, write_tar
from tests.lesstext.conftest import FAKE, Score, install_plugin
from tests.lesstext.engines.test_faults import contents

ray = pytest.importorskip("ray", reason="the Ray tests need the extra `ray`")


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder on the path of every Ray worker, which makes the suicidal detector known."""
    folder = tmp_path_factory.mktemp("plugin")
    with pytest.MonkeyPatch.context() as patch:
        install_plugin(folder, patch, "suicidal", "tests.lesstext.engines.test_faults")
        yield folder


@pytest.fixture(scope="module", autouse=True)
def cluster(plugin: Path) -> Iterator[None]:
    """A local cluster of two CPUs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(
            address="local", num_cpus=2, include_dashboard=False, log_to_driver=False,
            object_store_memory=80 << 20,
        )  # fmt: skip
        yield
        ray.shutdown()


def score_on_ray(shards: Path, out: Path, annotator: Annotator = FAKE) -> RunSummary:
    config = RunConfig(shards=(str(shards),), out=out, annotator=annotator, engine="ray")
    todo = plan(config)
    heard: list[int] = []
    engine = engine_for("ray", annotator, todo.placements, todo.annotator_id)
    summary = execute(config, todo, engine, on_samples=lambda _, far: heard.append(far.n_new))
    if not summary.failed and not todo.done:
        assert sum(heard) == sum(summary.counts.values())
    return summary


def test_mentions_are_byte_for_byte_those_of_the_local_engine(tmp_path: Path, score: Score) -> None:
    mentions = Mentions(tagger="none")
    for name, caption in (("a", "a cat on a sofa"), ("b", "two dogs")):
        write_tar(tmp_path / f"in/{name}.tar", sample("k", caption=caption))
    score(tmp_path / "in", annotator=mentions)
    assert score_on_ray(tmp_path / "in", tmp_path / "ray", mentions).exit_code == 0
    for name in ("a", "b"):
        local, far = (tmp_path / out / f"{name}.parquet" for out in ("scores", "ray"))
        assert local.read_bytes() == far.read_bytes()
        assert pq.read_table(far)["n_mentions"].to_pylist() == [{"a": 2, "b": 1}[name]]


def test_score_and_export_are_byte_for_byte_those_of_the_local_engine(
    shards: Path, tmp_path: Path, score: Score
) -> None:
    score(shards)
    assert score_on_ray(shards, tmp_path / "ray").exit_code == 0
    tables = {
        out: {
            str(p.relative_to(tmp_path / out)): p.read_bytes()
            for p in (tmp_path / out).rglob("*.parquet")
        }
        for out in ("scores", "ray")
    }
    assert tables["ray"] == tables["scores"] and len(tables["ray"]) == 3
    assert score_on_ray(shards, tmp_path / "ray").n_done_before == 3
    select([tmp_path / "ray"], tmp_path / "k.parquet", text_area.at_most(0.05))
    made = []
    for engine in ("local", "ray"):
        config = ExportConfig(
            shards=(str(shards),),
            selection=tmp_path / "k.parquet",
            out=tmp_path / f"{engine}-shards",
            engine=engine,
            workers=1,
        )
        assert export(config).n_samples == 9
        made.append(contents(tmp_path / f"{engine}-shards"))
    assert made[0] == made[1]


@pytest.mark.parametrize(("times", "n_lost"), [(1, 0), (99, 1)])
def test_a_sample_that_kills_its_actor_is_found_and_fails_alone(
    tmp_path: Path, plugin: Path, times: int, n_lost: int
) -> None:
    (tmp_path / "marks").mkdir()
    for number in range(3):
        deadly = encoded(picture(13 if number == 1 else 14))
        write_tar(tmp_path / f"in/{number}.tar", sample("k", deadly) + sample("l"))
    options = {"marks": str(tmp_path / "marks"), "times": str(times)}
    annotator = TextArea(detector="suicidal", options=options)
    summary = score_on_ray(tmp_path / "in", tmp_path / "out", annotator)
    assert summary.failed == [] and summary.counts.get("decode_error", 0) == n_lost
    assert len(list((tmp_path / "out").glob("*.parquet"))) == 3
    assert [path.name for path in (tmp_path / "out").glob(".*")] == [MARKER]


def test_a_detector_that_does_not_load_or_differs_ends_the_run(
    shards: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="no option"):
        score_on_ray(shards, tmp_path / "o", TextArea(detector="fake", options={"x": "1"}))
    with pytest.raises(AnnotatorError, match="the Ray cluster has no GPU"):
        find_workers("ray", FAKE, device="cuda", threads=1, workers=None, helpers=None)
    with pytest.raises(UsageError, match="must be auto, cpu or cuda"):
        find_workers("ray", FAKE, device="cuda:1", threads=1, workers=None, helpers=None)
    config = RunConfig(shards=(str(shards),), out=tmp_path / "p", annotator=FAKE, engine="ray")
    with pytest.raises(AnnotatorError, match=r"a node would work with 'fake .*--precision"):
        execute(config, plan(config), engine_for("ray", FAKE, [Placement()], "another id"))
    assert sorted(os.listdir(tmp_path / "p")) == [MARKER, "annotate_settings.json"]
