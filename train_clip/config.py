"""Everything that defines a run. A run is counted in steps; epochs do not exist here.

Each setting is declared once: its name and type, its flag and help, its default.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Annotated, Any, ClassVar, Literal

from lesstext.dataclass_options import Flag, check_choices
from lesstext.storage.validation import validated
from train_clip.errors import ConfigError
from train_clip.schedule import Decay, Schedule, parse_span
from train_clip.settings import (
    CaptionAugment,
    ClassSampling,
    EvalConfig,
    ImageAugment,
    SourceConfig,
    check_above_0,
    check_at_least,
    check_ratio,
)

Precision = Literal["fp32", "bf16", "amp", "fp64"]
TrackerName = Literal["none", "tensorboard", "wandb", "trackio"]
Scalar = bool | int | float | str

# May differ between a run and its resumption: none of them can change a weight.
_EXECUTION = {"may_change": True}


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """One run. Exactly one of `steps`, `samples` and `passes` says how long it is.

    `batch_size` is the number of pairs of one step over all ranks and micro-batches. `threads` is
    torch's on a CPU (None: $OMP_NUM_THREADS, else all cores but one, which is left to a worker);
    another number of them rounds differently, another number of workers does not.
    """

    sources: tuple[SourceConfig, ...]
    model: Annotated[str, Flag("tiny, tiny-vit, small or an open_clip name.")] = "tiny"
    steps: Annotated[int | None, Flag("Optimiser updates, exactly.")] = None
    samples: Annotated[int | None, Flag("Instead of --steps.")] = None
    passes: Annotated[float | None, Flag("Instead of --steps.")] = None
    batch_size: Annotated[int, Flag("Pairs per step, over all ranks.")] = 64
    accumulate: Annotated[int, Flag("Micro-batches per step and rank.")] = 1
    seed: int = 0
    loss: Annotated[str, Flag("clip, siglip or an installed objective.")] = "clip"
    loss_options: Annotated[
        Mapping[str, Scalar], Flag("For the objective; repeat for several.", names=("loss_option",))
    ] = field(default_factory=dict)
    precision: Annotated[Precision, Flag("fp32, bf16, amp (fp16) or fp64.")] = "fp32"
    lr: float = 5e-4
    min_lr: float = 0.0
    warmup: Annotated[str, Flag("Steps (500) or a share of the run (10%).")] = "10%"
    decay: Annotated[
        str | None, Flag("Last steps or share that decay (default: all after warm-up).")
    ] = None
    decay_shape: Annotated[Decay, Flag("cosine, linear or constant.")] = "cosine"
    weight_decay: float = 0.2
    betas: Annotated[tuple[float, float], Flag(names=("beta1", "beta2"))] = (0.9, 0.98)
    eps: float = 1e-6
    clip_grad_norm: Annotated[float | None, Flag("0 turns clipping off.")] = 1.0
    ema: Annotated[float | None, Flag("Decay of averaged weights.")] = None
    patch_dropout: float | None = None
    context_length: int | None = None
    freeze_batchnorm: bool = False
    image: ImageAugment = field(default_factory=ImageAugment)
    caption: CaptionAugment = field(default_factory=CaptionAugment)
    window_shards: Annotated[int, Flag("Shards shuffled together.")] = 8
    class_sampling: Annotated[
        ClassSampling, Flag("Entities are drawn by images, by their root, or all alike.")
    ] = "natural"
    max_bad_fraction: Annotated[float, Flag("Bad samples allowed.")] = 0.05
    max_pixels: Annotated[int, Flag("Images with more pixels are bad samples.")] = 100_000_000
    grad_checkpointing: bool = False
    compile: Annotated[bool, Flag("torch.compile the model.")] = False
    evaluation: Annotated[EvalConfig, Flag(prefix="eval_")] = field(
        default_factory=EvalConfig, metadata=_EXECUTION
    )
    device: Annotated[str, Flag("auto, cpu, cuda or cuda:N.")] = field(
        default="auto", metadata=_EXECUTION
    )
    threads: Annotated[int | None, Flag("CPU threads (default: cores - 1).")] = field(
        default=None, metadata=_EXECUTION
    )
    workers: Annotated[int, Flag("Data processes per rank (0: a thread).")] = field(
        default=1, metadata=_EXECUTION
    )
    prefetch: Annotated[int, Flag("Batches prepared ahead.")] = field(
        default=3, metadata=_EXECUTION
    )
    stall_timeout_s: Annotated[
        float, Flag("Seconds until a stall is an error.", names=("stall_timeout",))
    ] = field(default=300.0, metadata=_EXECUTION)
    log_every: int = field(default=1, metadata=_EXECUTION)
    save_every: Annotated[int, Flag("Steps (0: by the clock only).")] = field(
        default=0, metadata=_EXECUTION
    )
    save_minutes: Annotated[float, Flag("Minutes (0: never by the clock).")] = field(
        default=15.0, metadata=_EXECUTION
    )
    keep: Annotated[int, Flag("Checkpoints kept.")] = field(default=2, metadata=_EXECUTION)
    tracker: Annotated[TrackerName, Flag("Where metrics go besides metrics.jsonl.")] = field(
        default="tensorboard", metadata=_EXECUTION
    )
    cache: Annotated[str | None, Flag("Folder for shard indexes.")] = field(
        default=None, metadata=_EXECUTION
    )
    # Read by pydantic: nothing is converted, and no unknown name is passed over.
    __pydantic_config__: ClassVar[dict[str, Any]] = {"strict": True, "extra": "forbid"}

    def __post_init__(self) -> None:
        if not self.sources:
            raise ConfigError("no --data given")
        weights = [source.weight for source in self.sources]
        if None in weights and any(weight is not None for weight in weights):
            raise ConfigError("give a --weight for every --data, or for none")
        if self.clip_grad_norm == 0:
            object.__setattr__(self, "clip_grad_norm", None)
        check_choices(self)
        self._check_duration()
        self._check_counts()
        self._check_rates()
        self._check_masking()
        if self.class_sampling != "natural" and any(s.labels is None for s in self.sources):
            raise ConfigError("--class-sampling draws by entity; name the --labels of every --data")

    def _check_masking(self) -> None:
        if self.image.masked_regions == "repeated":
            if self.image.text_mask == "none":
                raise ConfigError("--masked-regions says what --mask-text hides; give that as well")
            if any(source.words is None for source in self.sources):
                raise ConfigError("--masked-regions repeated needs the --words of every --data")
        if self.image.text_mask != "none":
            for source in self.sources:
                if source.scores is None and source.words is None:
                    raise ConfigError(
                        "--mask-text hides the regions of tables; name their --scores or --words"
                    )

    def _check_duration(self) -> None:
        given = {"steps": self.steps, "samples": self.samples, "passes": self.passes}
        named = {name: value for name, value in given.items() if value is not None}
        if len(named) != 1:
            raise ConfigError(
                f"say how long to train with exactly one of --steps, --samples and --passes, "
                f"got {', '.join(named) or 'none'}"
            )
        name, value = next(iter(named.items()))
        check_above_0(f"--{name}", value)

    def _check_counts(self) -> None:
        for name in (
            "batch_size", "accumulate", "window_shards", "log_every", "keep", "prefetch",
            "max_pixels",
        ):  # fmt: skip
            check_at_least(1, name, getattr(self, name))
        for name in ("workers", "save_every", "save_minutes", "seed"):
            check_at_least(0, name, getattr(self, name))
        for name in ("threads", "context_length"):
            value = getattr(self, name)
            check_at_least(1, name, 1 if value is None else value)
        if self.seed >= 2**63:
            raise ConfigError(f"seed must be below 2^63, got {self.seed}")
        if self.batch_size < 2:
            raise ConfigError("a contrastive loss needs a batch of at least 2 pairs")

    def _check_rates(self) -> None:
        check_above_0("the learning rate", self.lr)
        check_above_0("stall_timeout_s", self.stall_timeout_s)
        check_above_0("clip_grad_norm", self.clip_grad_norm or 1.0)
        for name in ("min_lr", "weight_decay", "eps"):
            check_at_least(0, name, getattr(self, name))
        for name in ("max_bad_fraction", "patch_dropout", "ema"):
            check_ratio(name, getattr(self, name) or 0.0)
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"betas must lie in [0, 1), got {self.betas}")

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
        """All settings; options of the objective only where there are some."""
        values = asdict(self)
        if not self.loss_options:
            del values["loss_options"]
        return json.dumps(values, indent=2)

    @classmethod
    def from_json(cls, text: str, where: str = "the settings") -> TrainConfig:
        """Read what `as_json` wrote; raises ConfigError that names `where` and the setting."""
        return validated(cls, text, where, ConfigError)

    def differences(self, other: TrainConfig) -> list[str]:
        """The settings that bind a run and differ from `other`'s, as `name: mine != theirs`."""
        return [
            f"{f.name}: {getattr(self, f.name)!r} != {getattr(other, f.name)!r}"
            for f in fields(self)
            if not f.metadata.get("may_change") and getattr(self, f.name) != getattr(other, f.name)
        ]
