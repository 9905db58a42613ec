"""The `attr-builder` command. Heavy imports live inside the commands: `--help` stays instant."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lesstext.console import new_command, run

app = new_command(
    "attr-builder",
    "Build ImageNet-Attr, a typographically attacked twin of a classification set, check it, "
    "and measure CLIP models on it.",
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


SourceSpec = Annotated[
    str,
    typer.Argument(
        help="ImageFolder, flat ILSVRC folder (with --labels), parquet, or tar shards.",
        metavar="SOURCE",
    ),
]
NewSet = Annotated[Path, typer.Option("--out", help="Folder for the set; never inside SOURCE.")]
Preset = Annotated[str, typer.Option(help="paper or visible.")]
Controls = Annotated[str, typer.Option(help="Any of none,correct,nonsense, separated by commas.")]
Strategy = Annotated[
    str | None, typer.Option(help="Wrong class: paper, random, similar, or map:FILE.")
]
Attacks = Annotated[
    int, typer.Option(min=1, help="Distinct wrong classes, one attacked image for each.")
]
Seed = Annotated[int, typer.Option(help="Decides places and drawn classes, with the key.")]
Formats = Annotated[
    str, typer.Option("--format", help="imagefolder,webdataset,parquet: one or more.")
]
Placement = Annotated[
    str | None, typer.Option(help="crop, image (both vary by seed), or X,Y in pixels.")
]
Size = Annotated[str | None, typer.Option(help="50px, or 10% of the shorter side; shrinks to fit.")]
MinSize = Annotated[
    float | None, typer.Option(help="Smallest text, as a share of the shorter side (0.06).")
]
Fit = Annotated[bool | None, typer.Option("--fit/--no-fit", help="Wrap and shrink text to fit.")]
Color = Annotated[str | None, typer.Option(help="CSS colour, or auto.")]
When = Annotated[str | None, typer.Option(help="never, auto or always.")]
MinContrast = Annotated[
    float | None, typer.Option(help="WCAG contrast below which auto strokes or boxes.")
]
Font = Annotated[str | None, typer.Option(help="Font file. [Liberation Sans]")]
Encoding = Annotated[str | None, typer.Option(help="jpeg or png.")]
Quality = Annotated[int | None, typer.Option(help="JPEG quality, 1 to 100.")]
TextModel = Annotated[str, typer.Option(help="open_clip model for --strategy similar.")]
TextPretrained = Annotated[str, typer.Option(help="Its weights: tag, or path of a checkpoint.")]
Limit = Annotated[int | None, typer.Option(min=1, help="At most so many photos, evenly spread.")]
ChunkSize = Annotated[int, typer.Option(min=1, help="Images per unit of work, and per shard.")]


@app.command(
    epilog="Example: `attr-builder build imagenet/val --out attr/ --preset visible "
    "--controls none,correct,nonsense --workers 8`"
)
def build(
    source: SourceSpec,
    out: NewSet,
    preset: Preset = "visible",
    controls: Controls = "",
    strategy: Strategy = None,
    attacks_per_image: Attacks = 1,
    seed: Seed = 0,
    formats: Formats = "imagefolder",
    classes: Classes = None,
    labels: Labels = None,
    limit: Limit = None,
    workers: Workers = 1,
    placement: Placement = None,
    size: Size = None,
    min_size: MinSize = None,
    fit: Fit = None,
    color: Color = None,
    stroke: When = None,
    stroke_color: Color = None,
    box: When = None,
    box_color: Color = None,
    min_contrast: MinContrast = None,
    font: Font = None,
    encoding: Encoding = None,
    quality: Quality = None,
    text_model: TextModel = "ViT-B-32",
    text_pretrained: TextPretrained = "openai",
    chunk_size: ChunkSize = 250,
) -> None:
    """Write a wrong class's name on every image; a second run does only what is missing.

    `--preset paper` follows the published recipe to the letter; `visible` puts legible text where
    models see it. Every other option changes one part of the preset. Exit code 1 means that some
    images failed; they have rows with a reason in the manifest.
    """
    from attr_builder import commands

    given = dict(locals())
    request = commands.BuildRequest(
        source=source,
        out=out,
        recipe=commands.make_recipe_from(given),
        formats=commands.parse_formats(formats),
        classes=classes,
        labels=labels,
        map_file=commands.map_file(strategy),
        text_model=text_model,
        text_pretrained=text_pretrained,
        limit=limit,
        workers=workers,
        chunk_size=chunk_size,
    )
    raise typer.Exit(commands.build(request))


@app.command(epilog="Example: `attr-builder verify attr/ --source imagenet/val`")
def verify(
    attr_dir: SetDir,
    source: Annotated[
        str | None, typer.Option(help="What the set was built from: draw the sample again.")
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="Images to check.")] = 100,
    full: Annotated[bool, typer.Option("--full", help="Check all of them.")] = False,
    seed: Annotated[int, typer.Option(help="Which sample.")] = 0,
    labels: Labels = None,
) -> None:
    """Compare stored images, and with --source freshly drawn ones, with the manifest's hashes."""
    from attr_builder import commands

    raise typer.Exit(
        commands.verify(attr_dir, source, labels=labels, n_sample=sample, seed=seed, full=full)
    )


@app.command(epilog="Example: `attr-builder inspect attr/ --out sheet.html`")
def inspect(
    attr_dir: SetDir,
    out: Annotated[
        Path | None, typer.Option(help="HTML file to write. [inspect.html in the set]")
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="At most so many images.")] = 200,
    variant: Annotated[str | None, typer.Option(help="Only this variant.")] = None,
    seed: Annotated[int, typer.Option(help="Which images.")] = 0,
) -> None:
    """Write an HTML contact sheet with filters by class, contrast and visibility."""
    from attr_builder.building.contact_sheet import write_contact_sheet

    page = out or attr_dir / "inspect.html"
    n = write_contact_sheet(attr_dir, page, n_images=images, variant=variant, seed=seed)
    print(f"{page}: {n} images")


AnySet = Annotated[
    Path | None, typer.Option("--set", help="A built or published set: all its variants.")
]
CleanImages = Annotated[
    str | None, typer.Option(help="Untouched images: any source that build takes.")
]
AttackedImages = Annotated[
    str | None,
    typer.Option(help="Attacked images: a variant of a built or published set, any source."),
]
MoreSets = Annotated[str, typer.Option(help="More sets, as NAME=DIR,NAME=DIR.")]
Defence = Annotated[
    str, typer.Option(help="Hide the text first: mean, local-mean, blur, telea; commas.")
]
DetectorName = Annotated[
    str | None, typer.Option(help="What finds it: a detector of `lesstext`. [its default]")
]
DetectorSize = Annotated[
    int | None, typer.Option(help="Longer side in px at which it is sought. [384]")
]
RetrievalImages = Annotated[
    str | None,
    typer.Option(help="Retrieval mAP on gpr1200:FOLDER, an ImageFolder, or any source."),
]
TrainImages = Annotated[
    str | None,
    typer.Option(help="Images of the same classes, by name, for kNN and the probe to learn from."),
]
Probe = Annotated[
    bool, typer.Option("--probe/--no-probe", help="Train a linear probe for --image-retrieval.")
]
EmbeddingsDir = Annotated[
    Path | None,
    typer.Option(help="Folder that keeps the embeddings of --image-retrieval, for the next run."),
]
RegionsDir = Annotated[
    Path | None, typer.Option(help="Folder that keeps what is found, for the next run.")
]


@app.command(
    epilog="Example: `attr-builder evaluate --model ViT-B-16 --pretrained openai --set attr/ "
    "--out results/`"
)
def evaluate(
    model: Annotated[
        str,
        typer.Option(
            help="open_clip model name, model config (.json), local-dir:DIR, hf-hub:NAME."
        ),
    ],
    pretrained: Annotated[
        str | None,
        typer.Option(help="Weights: a tag, or a checkpoint. Stored models bring their own."),
    ] = None,
    attr_set: AnySet = None,
    clean: CleanImages = None,
    attacked: AttackedImages = None,
    controls: MoreSets = "",
    out: Annotated[Path | None, typer.Option(help="Folder for JSON, Markdown, parquet.")] = None,
    templates: Annotated[int, typer.Option(help="Prompt templates: 80, 7 or 1.")] = 80,
    classes: Classes = None,
    labels: Labels = None,
    limit: Limit = None,
    defence: Defence = "",
    detector: DetectorName = None,
    detector_size: DetectorSize = None,
    regions: RegionsDir = None,
    image_retrieval: RetrievalImages = None,
    retrieval_train: TrainImages = None,
    probe: Probe = True,
    embeddings: EmbeddingsDir = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images per forward pass.")] = 64,
    workers: Annotated[int, typer.Option(min=0, help="Processes that decode images.")] = 2,
    device: Device = "cpu",
    amp: Annotated[bool, typer.Option("--amp", help="Image tower in bfloat16.")] = False,
) -> None:
    """Accuracy clean and attacked, attack success, drops, reading score, with intervals.

    Sets may be built ones, or SCAM, RTA-100, PAINT and Disentangling as they are downloaded.
    Exit code 1 means that some images could not be read; they are named and left out.
    """
    from attr_builder import commands

    given = dict(locals())
    codes = []
    if image_retrieval is not None:
        codes.append(commands.measure_retrieval(commands.retrieval_config_from(given), out))
    if image_retrieval is None or attr_set or clean or attacked or controls or defence:
        codes.append(commands.evaluate(commands.evaluate_config_from(given), out))
    raise typer.Exit(max(codes))


def main() -> None:
    """Entry point."""
    run(app)


if __name__ == "__main__":
    main()
