"""Named policies: what each keeps, what it says, and what it asks for where its table lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lesstext.errors import UsageError
from lesstext.policies.named import POLICIES, PolicyParameters, policy_rule
from lesstext.tables.selecting import select
from tests.lesstext.cli.test_select import select as run_select
from tests.lesstext.tables.table_builders import made_table

N = 10


@pytest.fixture
def tables(tmp_path: Path) -> list[Path]:
    """Ten samples: text area grows, overlap falls, both similarities go their own ways."""
    area = [{"key": f"k{i}", "text_area_ratio": i / 1000} for i in range(N)]
    overlap = [
        {
            "key": f"k{i}",
            "caption_overlap": max(0.0, 0.5 - i / 10),
            "fuzzy_caption_overlap": max(0.0, 0.8 - i / 10),
        }
        for i in range(N)
    ]
    fits = [
        {"key": f"k{i}", "similarity": float(i % 5), "masked_similarity": float(-i)}
        for i in range(N)
    ]
    for name, rows in (("text_area", area), ("overlap", overlap), ("similarity", fits)):
        made_table(tmp_path / name, "00000", rows, name=name)
    return [tmp_path / name for name in ("text_area", "overlap", "similarity")]


def kept(tables: list[Path], policy: str, **parameters: Any) -> list[int]:
    out = tables[0].parent / "keep.parquet"
    select(tables, out, policy_rule(policy, PolicyParameters(**parameters)))
    return [int(key[1:]) for key in pq.read_table(out)["key"].to_pylist()]


def test_what_each_policy_keeps(tables: list[Path]) -> None:
    assert kept(tables, "less-is-more") == [0, 1, 2, 3, 4, 5]
    assert kept(tables, "less-is-more", max_text_area=0.002) == [0, 1, 2]
    assert kept(tables, "t-mars") == [0, 1, 2, 3, 4]
    assert kept(tables, "t-mars", keep_fraction=0.2) == [0, 1]
    assert kept(tables, "parrot") == [5, 6, 7, 8, 9]
    assert kept(tables, "parrot", fuzzy=True) == [8, 9]
    assert kept(tables, "parrot", fuzzy=True, max_overlap=0.2) == [6, 7, 8, 9]
    assert set(kept(tables, "clip-score")) < {3, 4, 8, 9}
    assert len(kept(tables, "clip-score")) == 3


def test_random_draws_a_share_by_its_seed_alone(tables: list[Path]) -> None:
    first = kept(tables, "random", keep_fraction=0.4)
    assert len(first) == 4 and first == kept(tables[::-1], "random", keep_fraction=0.4)
    others = [kept(tables, "random", keep_fraction=0.4, seed=seed) for seed in range(1, 5)]
    assert any(other != first for other in others)
    assert kept(tables, "random", keep_fraction=0) == []
    assert len(kept(tables, "random", keep_fraction=1)) == N


def test_a_policy_and_an_expression_must_both_be_met(tables: list[Path]) -> None:
    """The share stays one of all samples, whatever the expression leaves."""
    assert kept(tables, "parrot", where="text_area_ratio <= 0.006::FLOAT") == [5, 6]
    assert kept(tables, "t-mars", where="caption_overlap = 0 or similarity >= 3") == [3, 4]
    assert kept(tables, "t-mars", where="similarity < 0 or true") == [0, 1, 2, 3, 4]


def test_an_expression_cannot_break_out_of_the_conjunction(tables: list[Path]) -> None:
    assert kept(tables, "parrot", where="true) OR (true") == [5, 6, 7, 8, 9]
    assert kept(tables, "parrot", where="false OR true") == [5, 6, 7, 8, 9]


@pytest.mark.parametrize("policy", POLICIES)
def test_parameters_of_other_policies_are_refused(policy: str) -> None:
    given = {"max_text_area": 0.1, "keep_fraction": 0.5, "max_overlap": 0.1, "score": "x"}
    own = {
        "less-is-more": ["max_text_area"],
        "parrot": ["max_overlap"],
        "clip-score": ["keep_fraction", "score"],
    }
    for name, value in given.items():
        if name in own.get(policy, ["keep_fraction"]):
            continue
        with pytest.raises(UsageError, match=f"--policy {policy} takes no --{name[:3]}"):
            policy_rule(policy, PolicyParameters(**{name: value}))  # type: ignore[arg-type]


def test_values_out_of_range_are_refused() -> None:
    with pytest.raises(UsageError, match="--max-overlap must be within 0 to 1"):
        policy_rule("parrot", PolicyParameters(max_overlap=1.5))
    with pytest.raises(UsageError, match="--keep-fraction must be within 0 to 1"):
        policy_rule("t-mars", PolicyParameters(keep_fraction=2))
    with pytest.raises(UsageError, match="random needs --keep-fraction"):
        policy_rule("random")
    with pytest.raises(UsageError, match="no policy 'none'; there are less-is-more, t-mars"):
        policy_rule("none")


def test_similarities_without_masked_ones_are_refused_by_t_mars(tables: list[Path]) -> None:
    rows = [{"key": f"k{i}", "similarity": 0.5, "masked_similarity": None} for i in range(N)]
    plain = tables[0].parent / "plain"
    types = {"masked_similarity": pa.float32()}
    made_table(plain, "00000", rows, name="similarity", types=types)
    with pytest.raises(UsageError, match=r"masked_similarity has no value .*text_area=SCORES"):
        kept([tables[0], plain], "t-mars")
    assert len(kept([tables[0], plain], "clip-score")) == 3


class TestCommand:
    def test_it_says_which_rule_it_stands_for(self, tables: list[Path]) -> None:
        area = tables[0]
        done = run_select(area, ".", "--policy", "less-is-more", "--where", "status = 'ok'")
        assert done.stderr == "" and done.stdout.splitlines()[1] == (
            "  policy less-is-more: text_area_ratio <= 0.005 and status = 'ok'"
        )
        done = run_select(area, ".", "../similarity", "--policy", "t-mars")
        expected = "  policy t-mars: the highest 0.5 by masked_similarity: at least -4"
        assert done.stdout.splitlines()[1] == expected
        done = run_select(area, ".", "--policy", "random", "--keep-fraction", 0.3, "--seed", 4)
        assert done.stdout.splitlines()[1] == "  policy random: 0.3 at random, seed 4"

    @pytest.mark.parametrize(
        "options",
        [
            ["less-is-more"],
            ["parrot", "--fuzzy"],
            ["t-mars"],
            ["clip-score", "--where", "masked_similarity < 0"],
            ["random", "--keep-fraction", 0.3, "--seed", 4],
        ],
    )
    def test_the_sql_that_it_prints_keeps_the_same(
        self, tables: list[Path], options: list[object]
    ) -> None:
        out = tables[0].parent / "keep.parquet"
        others = [f"../{table.name}" for table in tables[1:]]
        done = run_select(tables[0], ".", *others, "--policy", *options)
        (sql,) = [line[7:] for line in done.stdout.splitlines() if line.startswith("  sql: ")]
        parts = [f"read_parquet('{table}/*.parquet') {table.name}" for table in tables]
        columns = [
            f'{table.name}.{column} AS "{table.name}.{column}"'
            for table in tables
            for column in pq.read_schema(next(table.glob("*.parquet"))).names
        ]
        view = f"""SELECT key, '00000' AS shard, text_area.status, {", ".join(columns)}
            FROM {parts[0]} JOIN {parts[1]} USING (key) JOIN {parts[2]} USING (key)"""
        found = duckdb.execute(f"SELECT key FROM ({view}) WHERE {sql} ORDER BY key").fetchall()
        assert [key for (key,) in found] == sorted(pq.read_table(out)["key"].to_pylist())
        assert 0 < len(found) < N

    @pytest.mark.parametrize(
        ("policy", "command"),
        [
            ("t-mars", "--input text_area=SCORES"),
            ("parrot", "lesstext annotate overlap SHARDS --input words=WORDS"),
            ("clip-score", "--score meta.clip_l14_similarity_score --metadata"),
        ],
    )
    def test_a_missing_table_is_named_with_what_makes_it(
        self, tables: list[Path], policy: str, command: str
    ) -> None:
        done = run_select(tables[0], ".", "--policy", policy)
        assert done.returncode == 2 and done.stderr.count("\n") == 1
        assert f"--policy {policy}: " in done.stderr and command in done.stderr

    def test_datacomps_score_is_taken_from_metadata(self, tables: list[Path]) -> None:
        meta = tables[0].parent / "meta"
        meta.mkdir()
        scores = pa.array([0.1 * i for i in range(N)], pa.float32())
        keys = [f"k{i}" for i in range(N)]
        table = pa.table({"key": keys, "clip_l14_similarity_score": scores})
        pq.write_table(table, meta / "00000.parquet")
        score = ("--score", "meta.clip_l14_similarity_score", "--metadata", "../meta")
        done = run_select(tables[0], ".", "--policy", "clip-score", *score)
        assert done.returncode == 0, done.stderr
        keep = pq.read_table(tables[0].parent / "keep.parquet")["key"].to_pylist()
        assert keep == ["k7", "k8", "k9"]

    def test_flags_that_go_with_a_policy_are_refused_without_one(self, tables: list[Path]) -> None:
        done = run_select(tables[0], ".", "--where", "true", "--fuzzy")
        assert done.returncode == 2 and "go with --policy" in done.stderr
