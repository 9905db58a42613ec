"""Any open_clip model by name and weights, ready for zero-shot classification."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attr_builder.errors import UsageError


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A network in evaluation mode, its tokenizer and its own image preprocessing."""

    network: Any
    tokenizer: Any
    preprocess: Any


def load_model(name: str, pretrained: str | None, device: str) -> LoadedModel:
    """Load an open_clip model; `pretrained` is a tag or the path of a checkpoint.

    `name` may also be the path of an open_clip model config (JSON), or, as `local-dir:FOLDER` or
    `hf-hub:NAME`, a model stored with its weights, which `pretrained` None means. Raises UsageError
    when the model, tag or file is unknown, naming what there is.
    """
    import open_clip

    if name.endswith(".json"):
        if not Path(name).is_file():
            raise UsageError(f"no such model config: {name}")
        open_clip.add_model_config(name)
        name = Path(name).stem
    is_hub = name.startswith(("hf-hub:", "local-dir:"))
    if not is_hub and name not in open_clip.list_models():
        close = [m for m in open_clip.list_models() if m.lower()[:5] == name.lower()[:5]]
        raise UsageError(f"open_clip knows no model {name!r}; near: {', '.join(close) or 'none'}")
    tags = open_clip.list_pretrained_tags_by_model(name)
    if pretrained is None and not is_hub:
        raise UsageError(f"name the weights of {name}: --pretrained FILE or {', '.join(tags)}")
    if not is_hub and pretrained not in tags and not Path(str(pretrained)).is_file():
        raise UsageError(
            f"{pretrained!r} is neither a file nor a tag of {name}; its tags: {', '.join(tags)}"
        )
    try:
        network, _, preprocess = open_clip.create_model_and_transforms(
            name, pretrained=pretrained, device=device
        )
    except (RuntimeError, OSError, ValueError) as error:
        raise UsageError(f"{name} with {pretrained!r} cannot be loaded: {error}") from error
    return LoadedModel(network.eval(), open_clip.get_tokenizer(name), preprocess)
