"""open_clip models for training: stock names, and the small ones registered here.

`tiny` (convolutional, BatchNorm) and `tiny-vit` (no BatchNorm) train on two CPU cores, `small`
on one GPU. All use open_clip's own tokenizer, so that their checkpoints load in open_clip.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from train_clip.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from train_clip.config import TrainConfig

CONFIG_FOLDER = Path(__file__).parent / "configs"
OWN_MODELS = tuple(sorted(path.stem for path in CONFIG_FOLDER.glob("*.json")))
Tokenizer = Callable[[list[str]], "torch.Tensor"]
# What an objective may set of a model at its start, and the parameters that this sets.
_STARTS = {"init_logit_scale": "logit_scale", "init_logit_bias": "logit_bias"}
_BATCHNORM_REMEDY = (
    "its statistics would depend on how a batch is split; use a model without BatchNorm "
    "(tiny-vit, small, ViT-*), --accumulate 1 in one process, or --freeze-batchnorm"
)


@dataclass(frozen=True, slots=True)
class ModelBundle:
    """A model with its full config (`model_cfg`, overrides applied) and how to feed it.

    `width` is that of the embeddings; `mean` and `std` are per channel, for pixels scaled to
    [0, 1].
    """

    model: torch.nn.Module
    model_cfg: dict[str, Any]
    tokenizer: Tokenizer
    image_px: int
    width: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def register_models() -> None:
    """Make the small models known to open_clip in this process."""
    import open_clip

    if any(name not in open_clip.list_models() for name in OWN_MODELS):
        open_clip.add_model_config(CONFIG_FOLDER)


def model_config(config: TrainConfig, start: Mapping[str, float]) -> dict[str, Any]:
    """The model's open_clip config with this run's overrides; raises ConfigError if unknown."""
    import open_clip

    register_models()
    cfg: dict[str, Any] | None = open_clip.get_model_config(config.model)
    if cfg is None:
        raise ConfigError(f"unknown model {config.model!r}; {_suggestion(config.model)}")
    if config.patch_dropout is not None:
        cfg["vision_cfg"]["patch_dropout"] = config.patch_dropout
    if config.context_length is not None:
        cfg["text_cfg"]["context_length"] = config.context_length
    cfg.update(start)
    _refuse_unsupported(config, cfg)
    return cfg


def build_model(config: TrainConfig, start: Mapping[str, float]) -> ModelBundle:
    """A freshly initialised model on the CPU; the weights depend on the config and seed alone.

    `start` is the objective's `model_start`, or what `start_of` finds in a stored config.
    """
    import open_clip
    import torch

    cfg = model_config(config, start)
    torch.manual_seed(config.seed)
    model = open_clip.create_model(
        config.model,
        pretrained_text=False,
        force_patch_dropout=config.patch_dropout,
        force_context_length=config.context_length,
        output_dict=True,
        **start,
    )
    tokenizer = open_clip.get_tokenizer(config.model, context_length=config.context_length)
    size = model.visual.image_size
    height, width = (size, size) if isinstance(size, int) else size
    if height != width:
        raise ConfigError(f"{config.model} takes {height} x {width} images, not squares")
    mean, std = tuple(model.visual.image_mean), tuple(model.visual.image_std)
    return ModelBundle(model, cfg, tokenizer, height, cfg["embed_dim"], mean, std)


def start_of(model_cfg: Mapping[str, Any]) -> dict[str, float]:
    """What an objective set of a model, as the model's stored config tells."""
    return {name: model_cfg[name] for name in _STARTS if name in model_cfg}


def parameters_set_by(start: Mapping[str, float]) -> list[str]:
    """The model's parameters that an objective's `model_start` sets, or adds."""
    return [_STARTS[name] for name in start]


def has_batchnorm(model: torch.nn.Module) -> bool:
    """Whether any layer normalises over the batch."""
    import torch

    return any(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in model.modules())


def check_batchnorm(model: torch.nn.Module, *, frozen: bool, accumulate: int, world: int) -> None:
    """Refuse to split the batch of a model whose result would then depend on the split."""
    if has_batchnorm(model) and not frozen and (accumulate > 1 or world > 1):
        how = f"--accumulate {accumulate}" if accumulate > 1 else f"{world} ranks"
        raise ConfigError(f"the model has BatchNorm, so {how} is refused: {_BATCHNORM_REMEDY}")


def freeze_batchnorm(model: torch.nn.Module) -> None:
    """Put BatchNorm layers into evaluation mode: they normalise by their running statistics."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.eval()


def freeze_all_but_image_tower(model: torch.nn.Module) -> None:
    """Train `visual` alone: neither the text tower nor the logit scale gets a gradient."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("visual."))


def is_own_model(name: str) -> bool:
    """Whether a model's config comes from this package rather than from open_clip."""
    return name in OWN_MODELS


def config_text(bundle: ModelBundle) -> str:
    """`open_clip_config.json` for a folder that open_clip loads as `local-dir:`."""
    visual: Any = bundle.model.visual
    names = ("mean", "std", "interpolation", "resize_mode")
    preprocess = {name: visual.preprocess_cfg[name] for name in names}
    return json.dumps({"model_cfg": bundle.model_cfg, "preprocess_cfg": preprocess}, indent=2)


def _suggestion(name: str) -> str:
    import difflib

    import open_clip

    close = difflib.get_close_matches(name, open_clip.list_models(), n=4, cutoff=0.5)
    known = f"registered here: {', '.join(OWN_MODELS)}; open_clip's names work too"
    return f"did you mean {', '.join(close)}? ({known})" if close else known


def _refuse_unsupported(config: TrainConfig, cfg: dict[str, Any]) -> None:
    if "multimodal_cfg" in cfg:
        raise ConfigError(f"{config.model} is a CoCa model; only contrastive models train here")
    reduction = (cfg["text_cfg"].get("tokenizer_kwargs") or {}).get("reduction_mask")
    if reduction in ("simple", "random", "shuffle"):
        raise ConfigError(
            f"{config.model}'s tokenizer drops words at random ({reduction}); "
            "the samples of a step would no longer be a function of the seed"
        )
    patch_px = cfg["vision_cfg"].get("patch_size")
    if config.patch_dropout and not patch_px:
        raise ConfigError(f"{config.model} has no patches, so --patch-dropout means nothing")
