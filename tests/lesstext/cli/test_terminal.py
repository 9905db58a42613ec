"""What the commands say about time."""

from __future__ import annotations

from lesstext.cli.terminal import busy_stages, describe
from lesstext.engines.task import ShardReport


def test_busy_shares_are_of_the_workers_time_over_all_shards() -> None:
    reports = [
        ShardReport(shard="a", seconds={"detect": 6.0, "decode": 1.0, "total": 8.0}),
        ShardReport(shard="b", seconds={"detect": 1.0, "decode": 1.0, "total": 2.0}),
        ShardReport(shard="c", was_done=True),
    ]
    assert busy_stages(reports) == "detect 70%, decode 20%"
    assert busy_stages([]) == ""


def test_a_line_about_a_shard_names_damage_and_failure() -> None:
    damaged = ShardReport(shard="a", counts={"ok": 2}, problems=["truncated"])
    assert describe(damaged) == "shard a: 2 ok; DAMAGED: truncated"
    assert describe(ShardReport(shard="a", error="shard a: gone")) == "FAILED shard a: gone"
