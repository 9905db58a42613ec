"""Build ImageNet-Attr (adversarial text pasted onto ImageNet) and evaluate any CLIP on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lesstext import lazily

if TYPE_CHECKING:
    from attr_builder.building.card import Statistics
    from attr_builder.building.contact_sheet import write_contact_sheet
    from attr_builder.building.verify import verify_set
    from attr_builder.drawing.attacks import (
        AttackMap,
        paper_map,
        random_map,
        read_map,
        similar_map,
    )
    from attr_builder.drawing.presets import Recipe, RenderOptions, make_recipe
    from attr_builder.drawing.transform import AttrTransform
    from attr_builder.errors import RowError, SetError, SourceError
    from attr_builder.evaluation.embeddings import (
        CaptionedEmbeddings,
        LabelledEmbeddings,
        embed_captioned,
        embed_labelled,
    )
    from attr_builder.evaluation.evaluate import EvaluateConfig, Evaluation
    from attr_builder.evaluation.results import as_markdown
    from attr_builder.evaluation.retrieval import (
        CaptionedImages,
        Retrieval,
        measure_retrieval,
    )
    from attr_builder.labelled_images.classes import (
        ClassList,
        imagenet_classes,
        load_class_list,
    )
    from attr_builder.labelled_images.sources import open_source
    from attr_builder.verbs import build_set, evaluate

__all__ = [
    "AttackMap",
    "AttrTransform",
    "CaptionedEmbeddings",
    "CaptionedImages",
    "ClassList",
    "EvaluateConfig",
    "Evaluation",
    "LabelledEmbeddings",
    "Recipe",
    "RenderOptions",
    "Retrieval",
    "RowError",
    "SetError",
    "SourceError",
    "Statistics",
    "as_markdown",
    "build_set",
    "embed_captioned",
    "embed_labelled",
    "evaluate",
    "imagenet_classes",
    "load_class_list",
    "make_recipe",
    "measure_retrieval",
    "open_source",
    "paper_map",
    "random_map",
    "read_map",
    "similar_map",
    "verify_set",
    "write_contact_sheet",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "attr_builder.building.contact_sheet": "write_contact_sheet",
        "attr_builder.building.card": "Statistics",
        "attr_builder.building.verify": "verify_set",
        "attr_builder.drawing.attacks": "AttackMap paper_map random_map read_map similar_map",
        "attr_builder.drawing.presets": "Recipe RenderOptions make_recipe",
        "attr_builder.drawing.transform": "AttrTransform",
        "attr_builder.errors": "RowError SetError SourceError",
        "attr_builder.evaluation.embeddings": "CaptionedEmbeddings LabelledEmbeddings "
        "embed_captioned embed_labelled",
        "attr_builder.evaluation.evaluate": "EvaluateConfig Evaluation",
        "attr_builder.evaluation.results": "as_markdown",
        "attr_builder.evaluation.retrieval": "CaptionedImages Retrieval measure_retrieval",
        "attr_builder.labelled_images.classes": "ClassList imagenet_classes load_class_list",
        "attr_builder.labelled_images.sources": "open_source",
        "attr_builder.verbs": "build_set evaluate",
    },
)
