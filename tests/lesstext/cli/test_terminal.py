"""What the commands say about time."""

from __future__ import annotations

from lesstext.cli.terminal import Watcher, busy_stages, describe
from lesstext.console import Progress
from lesstext.engines.task import InShard, ShardReport


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


class Told(Progress):
    """Remembers how far the run was said to be."""

    def work(self, n: int, far: tuple[int, int, bool] | None = None) -> None:
        assert far is not None
        self.far = far


def test_how_far_a_run_is_counts_samples_of_shards_at_work_and_estimates_the_others() -> None:
    told = Told("text_area", 3, "shards", "images")
    watcher, said = Watcher(told, 3), []
    for shard, far in (
        ("a", InShard(0, 0, 100)), ("b", InShard(0, 40, 200)), ("a", InShard(60, 60, 100)),
    ):  # fmt: skip
        watcher.samples(shard, far)
        said.append(told.far)
    watcher.report(ShardReport(shard="a", counts={"ok": 100}))
    watcher.samples("c", InShard(0, 0, 10))
    assert said == [(0, 300, True), (40, 450, True), (100, 450, True)]
    assert told.far == (140, 310, False)
    watcher.samples("b", InShard(1, 41, 200))
    watcher.samples("b", InShard(0, 30, 200))  # its worker died, and rows in memory with it
    assert told.far == (130, 310, False)
