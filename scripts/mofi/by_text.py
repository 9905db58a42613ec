"""Which held-out photos a run names by the texts of entities, in the place of prompts."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from attr_builder.evaluation.image_sets import open_any
from attr_builder.evaluation.zeroshot import classify
from attr_builder.labelled_images.classes import load_class_list
from lesstext.clip import build_classifier, load_model
from lesstext.entities.knowledge_base import Entity, open_kb
from lesstext.entities.selectors.texts import text_of
from lesstext.storage.files import atomic_path
from mofi.plan import MofiPlan, Trial
from train_clip.data.labels.vocabulary import TEMPLATE


def measure_by_text(trial: Trial, arm: str, seed: int) -> None:
    """Write `right` (n,) and `item` (n,), the photo; done once."""
    target = trial.by_text(arm, seed)
    if target.exists():
        return
    plan = trial.plan
    classes = load_class_list(plan.classes)
    texts = [text_of(TEMPLATE, entity) for entity in _entities(plan, classes.wnids)]
    model = load_model(f"local-dir:{trial.run(arm, seed) / 'open_clip'}")
    classifier = build_classifier(model, texts, ["{c}"])
    answers = classify(model, open_any(str(plan.heldout), classes, None).images, classifier)
    with atomic_path(target, unguarded=True) as part, part.open("wb") as file:
        np.savez(file, right=answers.right, item=np.array(answers.clusters))


def _entities(plan: MofiPlan, wnids: Sequence[str]) -> list[Entity]:
    """The entity of each class trained on."""
    ids = json.loads((plan.corpus / "corpus.json").read_text(encoding="utf-8"))["entities"]
    found = open_kb().entities([ids[wnid] for wnid in wnids])
    return [entity for entity in found if entity is not None]
