"""Everything that defines a run. A run is counted in steps; epochs do not exist here."""

from __future__ import annotations

import json
import math
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, replace
from typing import Any, Literal

from train_clip.errors import ConfigError
from train_clip.schedule import Decay, Schedule, parse_span

LossName = Literal["clip", "siglip"]
Precision = Literal["fp32", "bf16", "amp", "fp64"]
TextMask = Literal["none", "blur", "mean"]
CaptionPick = Literal["first", "random"]

# May differ between a run and its resumption: none of them can change a weight.
_EXECUTION = {"may_change": True}


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceConfig:
    """One pool of image-text pairs: where it is, how much of it is used, how often it is drawn.

    `weight` None means in proportion to size. `selection` (parquet) or `where` (SQL on the score
    tables in `scores`) filter while reading. `captions` is `auto` (the `txt` member, else
    `caption`, else `captions` of the `json`) or the name of one JSON field that holds a text or
    a list of texts.
    """

    data: str
    weight: float | None = None
    selection: str | None = None
    where: str | None = None
    scores: str | None = None
    captions: str = "auto"

    def __post_init__(self) -> None:
        if self.weight is not None and not (math.isfinite(self.weight) and self.weight > 0):
            raise ConfigError(f"weight of {self.data} must be above 0, got {self.weight}")
        if self.selection is not None and self.where is not None:
            raise ConfigError(f"{self.data}: give --selection or --where, not both")
        if self.where is not None and self.scores is None:
            raise ConfigError(f"{self.data}: --where reads score tables; name their --scores DIR")


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageAugment:
    """What happens to each image on its way in; probabilities and ratios in [0, 1].

    `crop_scale` is the share of the area that a random crop keeps, `crop_aspect` its width to
    height. `jitter` holds the strengths of brightness, contrast, saturation and hue.
    `randaugment` is (operations, magnitude of 10). `text_mask` hides the score table's regions.
    """

    crop_scale: tuple[float, float] = (0.9, 1.0)
    crop_aspect: tuple[float, float] = (3 / 4, 4 / 3)
    flip_prob: float = 0.0
    jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    jitter_prob: float = 0.8
    randaugment: tuple[int, float] = (0, 9.0)
    erase_prob: float = 0.0
    text_mask: TextMask = "none"
    text_mask_prob: float = 1.0

    def __post_init__(self) -> None:
        low, high = self.crop_scale
        if not 0 < low <= high <= 1:
            raise ConfigError(f"crop scale must satisfy 0 < low <= high <= 1, got {low}, {high}")
        if not 0 < self.crop_aspect[0] <= self.crop_aspect[1]:
            raise ConfigError(f"crop aspect must rise from above 0, got {self.crop_aspect}")
        for name in ("flip_prob", "jitter_prob", "erase_prob", "text_mask_prob"):
            _check_ratio(name, getattr(self, name))
        if min(self.jitter) < 0 or self.jitter[3] > 0.5:
            raise ConfigError(f"jitter must be at least 0 and hue at most 0.5, got {self.jitter}")
        if self.randaugment[0] < 0 or not 0 <= self.randaugment[1] <= 10:
            raise ConfigError(f"RandAugment needs N >= 0 and M in [0, 10], got {self.randaugment}")
        _check_choice("text mask", self.text_mask, ("none", "blur", "mean"))


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionAugment:
    """Which of an image's captions is shown, and the templates (with `{}`) put around it."""

    pick: CaptionPick = "first"
    templates: tuple[str, ...] = ()
    template_prob: float = 0.5

    def __post_init__(self) -> None:
        _check_choice("caption pick", self.pick, ("first", "random"))
        _check_ratio("template_prob", self.template_prob)
        for template in self.templates:
            if template.count("{}") != 1:
                raise ConfigError(f"a caption template needs exactly one {{}}, got {template!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalConfig:
    """What is measured every `every` steps (0: at the end only).

    `zeroshot` is a labelled image set (ImageFolder, parquet or shards with `cls`), `attacked` its
    twin, `classes` their class list (None: ImageNet), `templates` the number of prompts per class;
    `retrieval` is a shard spec. `limit` caps the images of each, evenly spaced (None: all).
    """

    every: int = 0
    zeroshot: str | None = None
    attacked: str | None = None
    classes: str | None = None
    labels: str | None = None
    templates: int = 80
    retrieval: str | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.every < 0 or (self.limit is not None and self.limit < 1):
            raise ConfigError("--eval-every must be at least 0 and --eval-limit at least 1")
        if self.attacked is not None and self.zeroshot is None:
            raise ConfigError("--eval-attacked needs the clean twin in --eval-zeroshot")
        if self.templates not in (1, 7, 80):
            raise ConfigError(f"--eval-templates must be 1, 7 or 80, got {self.templates}")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """One run. Exactly one of `steps`, `samples` and `passes` says how long it is.

    `batch_size` is the number of pairs of one step over all ranks and micro-batches. `threads` is
    torch's on a CPU (None: $OMP_NUM_THREADS, else all cores but one, which is left to a worker);
    another number of them rounds differently, another number of workers does not.
    """

    sources: tuple[SourceConfig, ...]
    model: str = "tiny"
    steps: int | None = None
    samples: int | None = None
    passes: float | None = None
    batch_size: int = 64
    accumulate: int = 1
    seed: int = 0
    loss: LossName = "clip"
    precision: Precision = "fp32"
    lr: float = 5e-4
    min_lr: float = 0.0
    warmup: str = "10%"
    decay: str | None = None
    decay_shape: Decay = "cosine"
    weight_decay: float = 0.2
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6
    clip_grad_norm: float | None = 1.0
    ema: float | None = None
    patch_dropout: float | None = None
    context_length: int | None = None
    freeze_batchnorm: bool = False
    image: ImageAugment = field(default_factory=ImageAugment)
    caption: CaptionAugment = field(default_factory=CaptionAugment)
    window_shards: int = 8
    max_bad_fraction: float = 0.05
    max_pixels: int = 100_000_000
    grad_checkpointing: bool = False
    compile: bool = False
    evaluation: EvalConfig = field(default_factory=EvalConfig, metadata=_EXECUTION)
    device: str = field(default="auto", metadata=_EXECUTION)
    threads: int | None = field(default=None, metadata=_EXECUTION)
    workers: int = field(default=1, metadata=_EXECUTION)
    prefetch: int = field(default=3, metadata=_EXECUTION)
    stall_timeout_s: float = field(default=300.0, metadata=_EXECUTION)
    log_every: int = field(default=1, metadata=_EXECUTION)
    save_every: int = field(default=0, metadata=_EXECUTION)
    save_minutes: float = field(default=15.0, metadata=_EXECUTION)
    keep: int = field(default=2, metadata=_EXECUTION)
    tensorboard: bool = field(default=True, metadata=_EXECUTION)
    cache: str | None = field(default=None, metadata=_EXECUTION)

    def __post_init__(self) -> None:
        if not self.sources:
            raise ConfigError("no --data given")
        weights = [source.weight for source in self.sources]
        if None in weights and any(weight is not None for weight in weights):
            raise ConfigError("give a --weight for every --data, or for none")
        self._check_duration()
        self._check_counts()
        self._check_rates()
        _check_choice("loss", self.loss, ("clip", "siglip"))
        _check_choice("precision", self.precision, ("fp32", "bf16", "amp", "fp64"))
        _check_choice("decay shape", self.decay_shape, ("cosine", "linear", "constant"))
        if self.image.text_mask != "none" and any(s.scores is None for s in self.sources):
            raise ConfigError("--mask-text hides the regions of score tables; name their --scores")

    def _check_duration(self) -> None:
        given = {"steps": self.steps, "samples": self.samples, "passes": self.passes}
        named = {name: value for name, value in given.items() if value is not None}
        if len(named) != 1:
            raise ConfigError(
                f"say how long to train with exactly one of --steps, --samples and --passes, "
                f"got {', '.join(named) or 'none'}"
            )
        name, value = next(iter(named.items()))
        if value <= 0:
            raise ConfigError(f"--{name} must be above 0, got {value}")

    def _check_counts(self) -> None:
        for name in ("batch_size", "accumulate", "window_shards", "log_every", "keep", "prefetch"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("workers", "save_every", "save_minutes", "seed"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must be at least 0, got {getattr(self, name)}")
        if self.seed >= 2**63 or (self.threads is not None and self.threads < 1):
            raise ConfigError("seed must be below 2^63, and threads at least 1")
        if self.batch_size < 2:
            raise ConfigError("a contrastive loss needs a batch of at least 2 pairs")

    def _check_rates(self) -> None:
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise ConfigError(f"the learning rate must be above 0, got {self.lr}")
        for name in ("max_bad_fraction", "patch_dropout", "ema"):
            value = getattr(self, name)
            if value is not None:
                _check_ratio(name, value)
        if self.clip_grad_norm is not None and self.clip_grad_norm <= 0:
            raise ConfigError(f"clip_grad_norm must be above 0, got {self.clip_grad_norm}")

    @property
    def n_steps(self) -> int:
        """The length of a resolved run; see `resolve_steps`."""
        if self.steps is None:
            raise ConfigError("the run's length is not resolved to steps yet")
        return self.steps

    def resolve_steps(self, pool_size: int) -> TrainConfig:
        """The same run counted in steps: whole batches that cover the samples or passes asked."""
        if self.steps is not None:
            return self
        wanted = self.samples if self.samples is not None else (self.passes or 0) * pool_size
        steps = max(1, math.ceil(wanted / self.batch_size))
        return replace(self, steps=steps, samples=None, passes=None)

    def schedule(self) -> Schedule:
        """The learning-rate schedule; raises ConfigError where warm-up or decay do not fit."""
        warmup = parse_span(self.warmup, self.n_steps)
        left = max(0, self.n_steps - warmup)
        return Schedule(
            n_steps=self.n_steps,
            peak=self.lr,
            floor=self.min_lr,
            warmup=warmup,
            decay=left if self.decay is None else parse_span(self.decay, self.n_steps),
            shape=self.decay_shape,
        )

    def as_json(self) -> str:
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_json(cls, text: str) -> TrainConfig:
        """Read what `as_json` wrote; raises ConfigError for unknown or missing settings."""
        return from_dict(json.loads(text))

    def differences(self, other: TrainConfig) -> list[str]:
        """The settings that bind a run and differ from `other`'s, as `name: mine != theirs`."""
        return [
            f"{f.name}: {getattr(self, f.name)!r} != {getattr(other, f.name)!r}"
            for f in fields(self)
            if not f.metadata.get("may_change") and getattr(self, f.name) != getattr(other, f.name)
        ]


_NESTED: dict[str, type] = {
    "image": ImageAugment,
    "caption": CaptionAugment,
    "evaluation": EvalConfig,
}


def from_dict(values: dict[str, Any]) -> TrainConfig:
    """Build a TrainConfig from plain nested dicts and lists, as JSON and TOML give them."""
    values = dict(values)
    try:
        values["sources"] = tuple(_build(SourceConfig, item) for item in values["sources"])
    except KeyError as error:
        raise ConfigError("the settings name no data source") from error
    for name, kind in _NESTED.items():
        if name in values:
            values[name] = _build(kind, values[name])
    config: TrainConfig = _build(TrainConfig, values)
    return config


def _build(kind: type, values: dict[str, Any]) -> Any:
    known = {f.name: f for f in fields(kind)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ConfigError(f"unknown settings: {', '.join(unknown)}; known: {', '.join(known)}")
    required = [
        n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING
    ]
    missing = [name for name in required if name not in values]
    if missing:
        raise ConfigError(f"missing settings: {', '.join(missing)}")
    try:
        return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
    except TypeError as error:
        raise ConfigError(f"a setting of {kind.__name__} has the wrong type: {error}") from error


def _is_required(f: Field[Any]) -> bool:
    return f.default is MISSING and f.default_factory is MISSING


def _check_ratio(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ConfigError(f"{name} must lie in [0, 1], got {value}")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
