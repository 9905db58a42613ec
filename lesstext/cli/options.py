"""Arguments and options that several commands share and no dataclass declares."""

from __future__ import annotations

from typing import Annotated

import typer

Shards = Annotated[
    list[str],
    typer.Argument(
        help="Folders, globs, brace lists (`{00000..00041}.tar`), `a::b`, `@list.txt`, URLs.",
        metavar="SHARDS...",
    ),
]
Engine = Annotated[
    str, typer.Option(help="local: processes of this machine; ray: a Ray cluster, or a local one.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, or cuda:0,cuda:1,…")]
Threads = Annotated[int, typer.Option(help="CPU threads of the network in each process.")]
Replace = Annotated[
    bool, typer.Option("--replace", help="Replace the shards of another selection.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done and how long it would take.")
]
Inputs = Annotated[
    list[str] | None,
    typer.Option("--input", help="NAME=FOLDER: the tables of another annotator."),
]
Slice = Annotated[
    str, typer.Option("--slice", help="i/N: every N-th shard from the i-th, counted from 0.")
]
AllowPipe = Annotated[bool, typer.Option("--allow-pipe", help="Allow pipe:COMMAND inputs.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log every failed sample.")]
