"""Arguments and options that several commands share."""

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
Detector = Annotated[str, typer.Option(help="craft, easyocr, rapidocr or an installed plug-in.")]
Size = Annotated[
    int | None,
    typer.Option("--size", help="Longer side in px at which text is sought. [craft: 384]"),
]
Precision = Annotated[
    str | None,
    typer.Option(help="float32, bfloat16 or float16. [bfloat16 where the hardware has it]"),
]
Weights = Annotated[str | None, typer.Option(help="Weights file, instead of searching.")]
Options = Annotated[
    list[str] | None,
    typer.Option("--detector-option", help="NAME=VALUE for the detector, e.g. text=0.6."),
]
Engine = Annotated[
    str, typer.Option(help="local: processes of this machine; ray: a Ray cluster, or a local one.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, or cuda:0,cuda:1,…")]
Workers = Annotated[
    int | None,
    typer.Option(help="Processes: on the CPU in all (default cores / threads), else per GPU (1)."),
]
Helpers = Annotated[
    int | None,
    typer.Option(help="Processes that decode for each worker. [CPU: 0, GPU: its cores - 1]"),
]
Threads = Annotated[int, typer.Option(help="CPU threads of the network in each process.")]
MaxPixels = Annotated[int, typer.Option(help="Images with more pixels become `too_large`.")]
NoRegions = Annotated[bool, typer.Option("--no-regions", help="Do not store polygons.")]
Force = Annotated[bool, typer.Option("--force", help="Do again what is done already.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done and how long it would take.")
]
Limit = Annotated[int | None, typer.Option(help="Only the first N shards.")]
Slice = Annotated[
    str, typer.Option("--slice", help="i/N: every N-th shard from the i-th, counted from 0.")
]
AllowPipe = Annotated[bool, typer.Option("--allow-pipe", help="Allow pipe:COMMAND inputs.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log every failed sample.")]
MaxTextArea = Annotated[
    float | None,
    typer.Option(help="Keep images whose text-area ratio, in 0 to 1, is at most this."),
]
Seed = Annotated[int, typer.Option(help="Breaks ties of equal ratios, and draws the control.")]
