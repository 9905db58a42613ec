"""`lesstext select`: from what was typed to a selection, and what is said about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from lesstext.cli.terminal import print_selection
from lesstext.dataclass_options import Flag, build, with_options
from lesstext.errors import UsageError
from lesstext.policies import text_area
from lesstext.policies.named import POLICIES, PolicyName, PolicyParameters, policy_rule
from lesstext.shards.specs import expand_specs
from lesstext.storage.paths import Location, location
from lesstext.tables.folder import TableSource, parse_source
from lesstext.tables.rule import Rule
from lesstext.tables.selecting import select
from lesstext.tables.selection import read_selection
from lesstext.verify import require_tables


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectConfig:
    """What `lesstext select` was asked for."""

    tables: Sequence[str]
    out: str
    require: Annotated[
        list[str] | None, Flag("Refuse unless every one of these shards has its tables.")
    ] = None
    policy: Annotated[
        PolicyName | None, Flag(f"A rule that has a name: {', '.join(POLICIES)}.")
    ] = None
    max_text_area: Annotated[
        float | None, Flag("Keep images whose text-area ratio, in 0 to 1, is at most this.")
    ] = None
    keep_fraction: Annotated[
        float | None, Flag("Keep this share of ok samples, lowest text-area ratio first.")
    ] = None
    by: Annotated[str | None, Flag("With --keep-fraction: the column to go by instead.")] = None
    max_overlap: Annotated[
        float | None, Flag("With --policy parrot: share of caption words that may be shown. [0]")
    ] = None
    fuzzy: Annotated[bool, Flag("With --policy parrot: compare letters, not words.")] = False
    score: Annotated[
        str | None, Flag("With --policy clip-score: the column to go by. [similarity]")
    ] = None
    highest: Annotated[bool, Flag("With --by: keep the highest, not the lowest.")] = False
    where: Annotated[
        str | None, Flag('SQL over columns: "text_area_ratio < 0.02 and width >= 200".')
    ] = None
    metadata: Annotated[
        Path | None, Flag("Folder of img2dataset or DataComp parquet; columns as meta.NAME.")
    ] = None
    control: Annotated[
        str | None, Flag("`random`: also write a random selection of equal size.")
    ] = None
    seed: Annotated[int, Flag("Breaks ties of equal ratios, and draws the control.")] = 0
    on_failed: Annotated[str, Flag("drop or keep samples that failed.")] = "drop"
    also: Annotated[
        list[str] | None,
        Flag("Also write, by suffix: keys.csv, keys.txt (shard/key), subset.npy (DataComp's)."),
    ] = None

    def __post_init__(self) -> None:
        if self.on_failed not in ("drop", "keep"):
            raise UsageError(f"--on-failed must be drop or keep, got {self.on_failed!r}")
        if self.control not in (None, "random"):
            raise UsageError(f"--control must be random, got {self.control!r}")
        given = [self.max_text_area, self.keep_fraction, self.where]
        if self.policy is None and sum(value is not None for value in given) != 1:
            raise UsageError(
                "give exactly one of --max-text-area, --keep-fraction and --where, or a --policy"
            )
        if self.policy is not None and (self.by is not None or self.highest):
            raise UsageError("--by and --highest go with --keep-fraction, without --policy")
        if self.policy is None and (self.max_overlap is not None or self.fuzzy or self.score):
            raise UsageError("--max-overlap, --fuzzy and --score go with --policy")
        if self.keep_fraction is None and (self.by is not None or self.highest):
            raise UsageError("--by and --highest go with --keep-fraction")
        if self.highest and self.by is None:
            raise UsageError("--highest needs --by COLUMN")

    @property
    def rule(self) -> Rule:
        keep_failed = self.on_failed == "keep"
        if self.policy is not None:
            return policy_rule(self.policy, self._parameters(keep_failed))
        if self.max_text_area is not None:
            return text_area.at_most(self.max_text_area, seed=self.seed, keep_failed=keep_failed)
        if self.keep_fraction is not None and self.by is None:
            return text_area.lowest(self.keep_fraction, seed=self.seed, keep_failed=keep_failed)
        return Rule(
            where=self.where,
            keep_fraction=self.keep_fraction,
            by=self.by,
            highest=self.highest,
            seed=self.seed,
            keep_failed=keep_failed,
        )

    def _parameters(self, keep_failed: bool) -> PolicyParameters:
        return PolicyParameters(
            max_text_area=self.max_text_area,
            keep_fraction=self.keep_fraction,
            max_overlap=self.max_overlap,
            fuzzy=self.fuzzy,
            score=self.score,
            where=self.where,
            seed=self.seed,
            keep_failed=keep_failed,
        )


def select_command() -> Callable[..., None]:
    """The command with the flags of the rule and of what is written beside the selection."""
    return with_options(SelectConfig, leave_out=("tables", "out"))(_select)


def _select(
    tables: Annotated[
        list[str],
        typer.Argument(
            help="Folders or URLs of tables, one for each annotator; `NAME=FOLDER` renames one.",
            metavar="TABLES...",
        ),
    ],
    out: Annotated[str, typer.Option(help="Selection file to write (parquet).")],
    **values: Any,
) -> None:
    run_select(build(SelectConfig, values, tables=tables, out=out))


def run_select(config: SelectConfig, shown_in: Location | None = None) -> None:
    """Write the selection, its control and its by-products, and print their accounting.

    `shown_in` is the folder that they are about to be moved to.
    """
    rule, out = config.rule, location(config.out)
    tables = [parse_source(text) for text in config.tables]
    if config.require is not None:
        _require(config.require, tables)
    control = out.with_suffix(".control.parquet") if config.control else None
    also = [name.strip() for names in config.also or () for name in names.split(",")]
    selection = select(
        tables,
        out,
        rule,
        metadata=config.metadata,
        control=control,
        also=also,
        carry=text_area.MEASURED,
    )
    print_selection(selection, shown_in)
    if control is not None:
        print_selection(read_selection(control), shown_in)


def _require(specs: Sequence[str], tables: Sequence[TableSource]) -> None:
    sources = expand_specs(specs)
    for source in tables:
        require_tables(sources, source.folder)
