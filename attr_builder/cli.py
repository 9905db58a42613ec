"""The `attr-builder` command. Heavy imports live inside the commands: `--help` stays instant."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="attr-builder",
    help="Build ImageNet-Attr, a typographically attacked twin of a classification set, check it, "
    "and measure CLIP models on it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

Classes = Annotated[
    str | None,
    typer.Option(help="CSV wnid,name[,label]; `imagenet` for its 1,000 classes (the default)."),
]
Labels = Annotated[
    Path | None, typer.Option(help="Ground-truth file of a flat folder (ILSVRC validation).")
]
Workers = Annotated[int, typer.Option(min=1, help="Processes.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:0, …")]
SetDir = Annotated[Path, typer.Argument(help="Folder of a built set.", metavar="DIR")]


@app.command(
    epilog="Example: `attr-builder build imagenet/val --out attr/ --preset visible "
    "--controls none,correct,nonsense --workers 8`"
)
def build(
    source: Annotated[
        str,
        typer.Argument(
            help="ImageFolder, flat ILSVRC folder (with --labels), parquet, or tar shards.",
            metavar="SOURCE",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the set; never inside SOURCE.")],
    preset: Annotated[str, typer.Option(help="paper or visible.")] = "visible",
    controls: Annotated[
        str, typer.Option(help="Any of none,correct,nonsense, separated by commas.")
    ] = "",
    strategy: Annotated[
        str | None,
        typer.Option(help="Wrong class: paper, random, similar, or map FILE as `map:FILE`."),
    ] = None,
    attacks_per_image: Annotated[
        int, typer.Option(min=1, help="Distinct wrong classes, one attacked image for each.")
    ] = 1,
    seed: Annotated[int, typer.Option(help="Decides places and drawn classes, with the key.")] = 0,
    formats: Annotated[
        str, typer.Option("--format", help="imagefolder,webdataset,parquet: one or more.")
    ] = "imagefolder",
    classes: Classes = None,
    labels: Labels = None,
    workers: Workers = 1,
    placement: Annotated[
        str | None, typer.Option(help="crop, image (both vary by seed), or X,Y in pixels.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="50px, or 10% of the shorter side; shrinks to fit.")
    ] = None,
    min_size: Annotated[
        float | None, typer.Option(help="Smallest text, as a share of the shorter side (0.06).")
    ] = None,
    fit: Annotated[
        bool | None, typer.Option("--fit/--no-fit", help="Wrap and shrink text to fit.")
    ] = None,
    color: Annotated[str | None, typer.Option(help="CSS colour, or auto.")] = None,
    stroke: Annotated[str | None, typer.Option(help="never, auto or always.")] = None,
    stroke_color: Annotated[str | None, typer.Option(help="CSS colour, or auto.")] = None,
    box: Annotated[str | None, typer.Option(help="never, auto or always.")] = None,
    box_color: Annotated[str | None, typer.Option(help="CSS colour, or auto.")] = None,
    min_contrast: Annotated[
        float | None, typer.Option(help="WCAG contrast below which auto strokes or boxes.")
    ] = None,
    font: Annotated[str | None, typer.Option(help="Font file. [Liberation Sans]")] = None,
    encoding: Annotated[str | None, typer.Option(help="jpeg or png.")] = None,
    quality: Annotated[int | None, typer.Option(help="JPEG quality, 1 to 100.")] = None,
    text_model: Annotated[
        str, typer.Option(help="open_clip model for --strategy similar.")
    ] = "ViT-B-32",
    text_pretrained: Annotated[
        str, typer.Option(help="Its weights: tag, or path of a checkpoint.")
    ] = "openai",
    chunk_size: Annotated[
        int, typer.Option(min=1, help="Images per unit of work, and per shard.")
    ] = 250,
) -> None:
    """Write a wrong class's name on every image; a second run does only what is missing.

    `--preset paper` follows the published recipe to the letter; `visible` puts legible text where
    models see it. Every other option changes one part of the preset. Exit code 1 means that some
    images failed; they have rows with a reason in the manifest.
    """
    from attr_builder import commands
    from attr_builder.presets import make_recipe

    name, _, map_file = (strategy or "").partition(":")
    recipe = make_recipe(
        preset,
        {
            "strategy": name or None,
            "controls": commands.split_names(controls),
            "attacks_per_image": attacks_per_image,
            "seed": seed,
        },
        {
            "placement": placement,
            "size": size,
            "min_size_ratio": min_size,
            "fit": fit,
            "color": color,
            "stroke": stroke,
            "stroke_color": stroke_color,
            "box": box,
            "box_color": box_color,
            "min_contrast": min_contrast,
            "font": font,
            "encoding": encoding,
            "quality": quality,
        },
    )
    request = commands.BuildRequest(
        source=source,
        out=out,
        recipe=recipe,
        formats=commands.parse_formats(formats),
        classes=classes,
        labels=labels,
        map_file=Path(map_file) if map_file else None,
        text_model=text_model,
        text_pretrained=text_pretrained,
        workers=workers,
        chunk_size=chunk_size,
    )
    raise typer.Exit(commands.build(request))


def main() -> None:
    """Entry point: errors that we raise on purpose become one line and an exit code."""
    from lesstext.errors import LesstextError, UsageError

    try:
        app(standalone_mode=True)
    except LesstextError as error:
        print(f"attr-builder: error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    except KeyboardInterrupt:
        print("attr-builder: interrupted; run the same command again to go on", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
