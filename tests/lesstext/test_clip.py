"""Loading a CLIP by every spelling, what it is known by, and what it makes of images and texts."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lesstext.clip import (
    ClipModel,
    build_classifier,
    fill_template,
    load_model,
    prompt_templates,
    weights_digest,
)
from lesstext.errors import UsageError
from tests.lesstext.builders import picture
from tests.tiny_clip import TINY_MODEL, store_tiny_model, write_tiny_model

NAMES = ("tench", "goldfish", "great white shark")


@pytest.fixture(scope="module")
def model(tiny_model: tuple[str, str]) -> ClipModel:
    return load_model(*tiny_model)


@pytest.fixture(scope="module")
def pixels(model: ClipModel) -> torch.Tensor:
    """Seven preprocessed images (7, 3, 32, 32)."""
    return torch.stack([model.preprocess(picture(70, 50, i / 7, seed=9 * i)) for i in range(7)])


def test_importing_it_brings_neither_torch_nor_open_clip() -> None:
    code = "import sys, lesstext.clip; print({'torch', 'open_clip', 'PIL'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_every_spelling_loads_the_same_model(
    model: ClipModel, tiny_model: tuple[str, str], tmp_path: Path, pixels: torch.Tensor
) -> None:
    folder = store_tiny_model(tmp_path / "run" / "open_clip", tiny_model[1])
    by_name = load_model(Path(tiny_model[0]).stem, tiny_model[1])
    stored = load_model(f"local-dir:{folder}")
    of_a_run = load_model(f"local-dir:{folder.parent}")
    expected = model.embed_images([pixels])
    for other in (by_name, stored, of_a_run):
        assert np.array_equal(other.embed_images([pixels]), expected)
        assert np.array_equal(other.embed_texts(NAMES), model.embed_texts(NAMES))
        assert replace(other, name=model.name).identity() == model.identity()
    assert (by_name.name, stored.name) == (model.name, "local-dir")


def test_a_model_is_known_by_all_that_changes_its_embeddings(
    model: ClipModel, tiny_model: tuple[str, str], tmp_path: Path
) -> None:
    known = [model.identity(), replace(model, precision="amp_bf16").identity()]
    config, checkpoint = write_tiny_model(tmp_path, seed=1)
    known.append(load_model(config, checkpoint).identity())
    folder = store_tiny_model(tmp_path / "stored", tiny_model[1])
    known.append(load_model(f"local-dir:{folder}").identity())
    for part, value in (
        ("preprocess_cfg", {"interpolation": "bilinear"}),
        ("model_cfg", {**TINY_MODEL, "quick_gelu": True}),
    ):
        told = json.loads((folder / "open_clip_config.json").read_text()) | {part: value}
        (folder / "open_clip_config.json").write_text(json.dumps(told))
        known.append(load_model(f"local-dir:{folder}").identity())
    assert len(set(known)) == 6
    moved = shutil.move(folder, tmp_path / "elsewhere")
    assert load_model(f"local-dir:{moved}").identity() == known[-1]
    assert str(tmp_path) not in " ".join(known)


def test_equal_digests_mean_equal_weights(model: ClipModel, tiny_model: tuple[str, str]) -> None:
    other = load_model(*tiny_model).network
    assert weights_digest(other) == weights_digest(model.network)
    with torch.no_grad():
        next(other.parameters()).view(-1)[0].nextafter_(torch.tensor(9.0))
    assert weights_digest(other) != weights_digest(model.network)


def test_embeddings_are_unit_vectors_in_order(model: ClipModel, pixels: torch.Tensor) -> None:
    for vectors in (model.embed_images([pixels]), model.embed_texts(NAMES)):
        assert vectors.dtype == np.float32
        assert vectors.shape[1] == model.embed_dim == 16
        assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-6
    backwards = model.embed_texts(NAMES[::-1])
    assert np.abs(backwards[::-1] - model.embed_texts(NAMES)).max() < 1e-6


def test_embeddings_do_not_depend_on_batches(model: ClipModel, pixels: torch.Tensor) -> None:
    whole = model.embed_images([pixels])
    parts = model.embed_images(pixels[i : i + 2] for i in range(0, 7, 2))
    assert np.abs(whole - parts).max() < 1e-6
    one_by_one = model.embed_texts(NAMES, batch_size=1)
    assert np.abs(model.embed_texts(NAMES) - one_by_one).max() < 1e-6


def test_nothing_embeds_to_nothing(model: ClipModel) -> None:
    assert model.embed_images([]).shape == model.embed_texts([]).shape == (0, 16)


def test_amp_is_close_to_full_precision(model: ClipModel, pixels: torch.Tensor) -> None:
    fast = replace(model, precision="amp_bf16")
    cosines = (fast.embed_images([pixels]) * model.embed_images([pixels])).sum(axis=1)
    assert cosines.min() > 0.99 and not (cosines == 1).all()
    assert np.array_equal(fast.embed_texts(NAMES), model.embed_texts(NAMES))


def test_embedding_leaves_the_training_mode_as_it_was(
    tiny_model: tuple[str, str], pixels: torch.Tensor
) -> None:
    model = load_model(*tiny_model)
    assert not model.network.training
    model.network.train()
    model.network.visual.ln_post.eval()  # as frozen layers are
    model.embed_images([pixels])
    build_classifier(model, NAMES, prompt_templates(1))
    assert model.network.training and model.network.transformer.training
    assert not model.network.visual.ln_post.training


def test_classifier_equals_open_clips(model: ClipModel) -> None:
    from open_clip import SIMPLE_IMAGENET_TEMPLATES, build_zero_shot_classifier

    expected = build_zero_shot_classifier(
        model.network, model.tokenizer, NAMES, SIMPLE_IMAGENET_TEMPLATES
    )
    ours = build_classifier(model, NAMES, prompt_templates(7), prompts_per_batch=14)
    assert ours.shape == (16, 3)
    assert torch.allclose(ours, expected, atol=1e-6)


def test_templates_are_the_published_ones() -> None:
    assert [len(prompt_templates(n)) for n in (80, 7, 1)] == [80, 7, 1]
    assert fill_template(prompt_templates(80)[0], "tench") == "a bad photo of a tench."
    with pytest.raises(UsageError, match="80, 7 or 1"):
        prompt_templates(5)


@pytest.mark.parametrize(
    ("name", "pretrained", "message"),
    [
        ("ViT-B-61", "x", "knows no model 'ViT-B-61'; near: .*ViT-B-16"),
        ("ViT-B-16", "x", "neither a file nor a tag of ViT-B-16; its tags: .*openai"),
        ("ViT-B-16", None, "name the weights of ViT-B-16"),
        ("missing.json", "x", "no such model config"),
        ("local-dir:missing", None, "^local-dir:missing cannot be loaded: Directory .* not found"),
    ],
)
def test_unknown_models_are_refused(name: str, pretrained: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_model(name, pretrained)


@pytest.mark.parametrize(
    ("name", "pretrained"),
    [("hf-hub:nobody/no-such-model", None), ("ViT-B-32", "laion2b_e16")],
)
def test_offline_a_model_that_must_be_fetched_costs_one_quiet_line(
    name: str,
    pretrained: str | None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    from huggingface_hub import constants

    def no_network(*_: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", no_network)
    monkeypatch.setattr("lesstext.clip.files.getproxies", dict)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    start = time.monotonic()
    with pytest.raises(UsageError, match=r"cannot be fetched: huggingface\.co cannot be"):
        load_model(name, pretrained)
    assert time.monotonic() - start < 10  # the hub's own retries take 20 s and more
    assert capfd.readouterr().err == ""
    assert not constants.HF_HUB_OFFLINE


def test_a_device_that_is_not_there_is_refused(tiny_model: tuple[str, str]) -> None:
    with pytest.raises(UsageError, match="cannot be loaded"):
        load_model(*tiny_model, "cuda:99")


@pytest.mark.parametrize("harm", ["no weights", "cut", "no JSON", "other model", "0 px"])
def test_damaged_stored_models_are_refused(
    tiny_model: tuple[str, str], tmp_path: Path, harm: str
) -> None:
    folder = store_tiny_model(tmp_path, tiny_model[1])
    weights, config = folder / "open_clip_model.safetensors", folder / "open_clip_config.json"
    if harm == "no weights":
        weights.unlink()
    elif harm == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif harm == "no JSON":
        config.write_text("{")
    elif harm == "0 px":
        vision = {**TINY_MODEL["vision_cfg"], "patch_size": 0}  # type: ignore[dict-item]
        config.write_text(json.dumps({"model_cfg": {**TINY_MODEL, "vision_cfg": vision}}))
    else:
        config.write_text(json.dumps({"model_cfg": {**TINY_MODEL, "embed_dim": 8}}))
    with pytest.raises(UsageError, match=r"local-dir.* cannot be loaded"):
        load_model(f"local-dir:{folder}")


TAR = b"a.txt".ljust(257, b"\0") + b"ustar\0" + bytes(2000)


@pytest.mark.parametrize(
    "contents",
    [b"", b"{", b"no weights", b"\x80\x02cos\nsystem\n", TAR, [1, 2], {}, {"state_dict": 3},
     {"w": torch.zeros(3)}],
)  # fmt: skip
def test_files_that_are_no_checkpoint_are_refused(
    tiny_model: tuple[str, str], tmp_path: Path, contents: object
) -> None:
    path = tmp_path / "weights.pt"
    if isinstance(contents, bytes):
        path.write_bytes(contents)
    else:
        torch.save(contents, path)
    with pytest.raises(UsageError, match=r"weights\.pt' cannot be loaded: .") as caught:
        load_model(tiny_model[0], str(path))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
