"""`lesstext entities`: knowledge bases, and what captions and images say of their entities."""

from __future__ import annotations

import typer

from lesstext.cli.lazy import made_by

entities = typer.Typer(rich_markup_mode="markdown")


@entities.command(
    cls=made_by("lesstext.cli.entities.knowledge_bases:kb_command"),
    epilog="Example: `lesstext entities kb latest-all.json.bz2 --format wikidata --out kb.parquet`",
)
def kb() -> None:
    """Make a knowledge base: one parquet of names, descriptions and what they are."""


@entities.command(
    cls=made_by("lesstext.cli.annotate:find"),
    epilog="Example: `lesstext entities find laion/ --out mentions/`",
)
def find() -> None:
    """Find in each caption what may name an entity (`annotate mentions`)."""


@entities.command(
    cls=made_by("lesstext.cli.entities.knowledge_bases:show_command"),
    epilog="Example: `lesstext entities show wordnet jaguar`",
)
def show() -> None:
    """Show what a knowledge base knows by a name, the most likely entity first."""


@entities.command(
    cls=made_by("lesstext.cli.annotate:pick"),
    epilog="Example: `lesstext entities pick laion/ --input mentions=mentions/ --model ViT-B-32 "
    "--pretrained laion2b_s34b_b79k --out picks/`",
)
def pick() -> None:
    """Measure how well each image shows the entities that its captions name (`annotate picks`).

    Similarities of all candidates are stored: thresholds are a matter of `label`.
    """


@entities.command(
    cls=made_by("lesstext.cli.entities.labels:label_command"),
    epilog="Example: `lesstext entities label picks/ --threshold 0.25 --out labels.parquet`",
)
def label() -> None:
    """Decide by a rule which candidates become labels; never looks at an image again.

    Writes a selection whose rows also say which entities they show, and `vocabulary.parquet`, the
    classes, beside it. `export` and `train-clip` take it wherever they take a selection.
    """
