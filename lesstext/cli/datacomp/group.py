"""`lesstext datacomp`: subset lists for DataComp's filtering track."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

datacomp = typer.Typer(rich_markup_mode="markdown")
Out = Annotated[Path, typer.Option(help="Subset file to write: NAME.npy, and NAME.rule.json.")]


@datacomp.command(
    epilog="Example: `lesstext datacomp select --metadata metadata/ --out top.npy "
    "--keep-fraction 0.3 --by clip_l14_similarity_score --highest`",
)
def select(
    metadata: Annotated[Path, typer.Option(help="Folder of DataComp's metadata parquet.")],
    out: Out,
    where: Annotated[str | None, typer.Option(help="SQL over columns.")] = None,
    keep_fraction: Annotated[
        float | None, typer.Option(help="Keep this share of the rows, as DataComp cuts it.")
    ] = None,
    by: Annotated[str | None, typer.Option(help="With --keep-fraction: the column.")] = None,
    highest: Annotated[
        bool, typer.Option("--highest", help="Keep the highest, not the lowest.")
    ] = False,
    join: Annotated[
        list[str] | None,
        typer.Option(help="NAME=FOLDER of parquet with a column uid; columns as NAME.column."),
    ] = None,
) -> None:
    """Decide over metadata alone which uids to keep; no shard and no table is needed."""
    from lesstext.datacomp.selecting import select_uids
    from lesstext.errors import UsageError
    from lesstext.tables.rule import Rule

    joined: dict[str, Path] = {}
    for text in join or ():
        name, _, folder = text.partition("=")
        if not (name.isidentifier() and folder) or name in joined:
            raise UsageError(f"--join {text}: give NAME=FOLDER, each NAME once")
        joined[name] = Path(folder)
    rule = Rule(where=where, keep_fraction=keep_fraction, by=by, highest=highest)
    record = select_uids(metadata, rule, out, joined)
    print(f"{out}: {record.uids} of {record.rule['rows']} uids, {record.distinct} different")
    if record.rule["threshold"] is not None:
        print(f"  {by}: at {'least' if highest else 'most'} {record.rule['threshold']:g}")


@datacomp.command(
    epilog="Example: `lesstext datacomp combine intersect top.npy basic.npy --out both.npy`",
)
def combine(
    operation: Annotated[Literal["intersect", "unite", "subtract"], typer.Argument(help="How.")],
    lists: Annotated[
        list[Path], typer.Argument(help="Subset files, two or more.", metavar="LISTS...")
    ],
    out: Out,
) -> None:
    """Intersect, unite or subtract subset lists; a uid listed k times counts k times.

    It stands in the result as often as in the list with the fewest of it (intersect), with the
    most (unite), or in the first less all others (subtract).
    """
    from lesstext.datacomp.combining import combine as run

    record = run(operation, lists, out)
    print(f"{out}: {record.uids} uids, {record.distinct} different")
    for path, one in zip(lists, record.rule["lists"], strict=True):
        print(f"  {path}: {one['uids']} uids")


@datacomp.command(
    epilog="Example: `lesstext datacomp bundle both.npy --out bundle/`",
)
def bundle(
    subset: Annotated[Path, typer.Argument(help="Subset file.", metavar="LIST")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    scale: Annotated[
        Literal["small", "medium", "large", "xlarge"], typer.Option(help="Of the competition.")
    ] = "small",
    name: Annotated[
        str | None, typer.Option(help="Of the method, on the leaderboard. [that of LIST]")
    ] = None,
    selection: Annotated[
        Path | None, typer.Option(help="The selection that `select --also` wrote LIST beside.")
    ] = None,
) -> None:
    """Put list, rule, hashes, counts and the commands that submit it into one folder."""
    from lesstext.datacomp import bundle as bundles

    named = name or subset.stem
    done = bundles.bundle(subset, out, scale=scale, name=named, selection=selection)
    print(f"{out}: {done.uids} uids, {done.distinct} different")
    print(f"  sha256 {done.sha256[bundles.LIST]}")
    print(f"  submit: bash {out / bundles.COMMANDS}")
