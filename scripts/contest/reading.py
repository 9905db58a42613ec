"""Who still reads: which cards, class names on plain ground, a run classifies as what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from attr_builder.drawing.cards import Cards
from attr_builder.evaluation.outcomes import EvalSet
from attr_builder.evaluation.zeroshot import classify
from attr_builder.labelled_images.classes import load_class_list
from contest.plan import ContestPlan
from lesstext.clip import build_classifier, load_model, prompt_templates
from lesstext.storage.files import atomic_path


def measure_reading(plan: ContestPlan, arm: str, seed: int) -> None:
    """Write `right` (n,) and `name` (n,), the class name on each card; done once."""
    target = plan.reading(arm, seed)
    if target.exists():
        return
    classes = load_class_list(plan.classes)
    cards = Cards(classes, plan.size.cards_per_class)
    names = [classes.names[label] for label in cards.labels]
    model = load_model(f"local-dir:{_stored(plan, arm, seed)}")
    classifier = build_classifier(model, classes.names, prompt_templates(plan.size.templates))
    images = EvalSet(items=cards, attack_labels=cards.labels, clusters=names)
    answers = classify(model, images, classifier)
    with atomic_path(target, unguarded=True) as part, part.open("wb") as file:
        np.savez(file, right=answers.right, name=np.array(answers.clusters))


def _stored(plan: ContestPlan, arm: str, seed: int) -> Path:
    return plan.runs / arm / f"seed{seed}"
