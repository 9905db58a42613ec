"""The state of a run and its folder: what the loop changes, saves and reports."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

import torch

from lesstext.clip import weights_digest
from lesstext.storage.files import write_text
from train_clip.config import TrainConfig
from train_clip.data.loader import Batch, Loader, LoaderSettings
from train_clip.data.reader import ReadSettings
from train_clip.data.sources import RunData
from train_clip.distributed import Ranks
from train_clip.errors import CheckpointError, ConfigError, TrainError
from train_clip.evaluate import Evaluator
from train_clip.models.build import (
    ModelBundle,
    build_model,
    check_batchnorm,
    freeze_all_but_image_tower,
    freeze_batchnorm,
)
from train_clip.models.checkpoint import CheckpointStore, Counters, Snapshot
from train_clip.models.export import export_folder
from train_clip.objectives.base import Objective, Premises
from train_clip.objectives.exact_gradient import ExactGradient
from train_clip.objectives.own_parameters import OwnParameters
from train_clip.training.accounts import ledgers
from train_clip.training.batches import Feed, make_columns, micro_batches
from train_clip.training.optim import (
    AveragedWeights,
    build_optimizer,
    gradient_norm,
    gradient_norm_over_ranks,
)
from train_clip.training.runlog import LiveLine, RunLog
from train_clip.training.trackers import open_tracker
from train_clip.training.wrapping import wrap_model

log = logging.getLogger(__name__)

CONFIG = "config.json"
CHECKPOINTS = "checkpoints"
MODEL_FOLDER = "open_clip"


class Run:
    """One run on one rank. `step` counts finished steps; use `Run.open`, then `close`."""

    def __init__(
        self,
        config: TrainConfig,
        objective: Objective,
        out: Path,
        data: RunData,
        ranks: Ranks,
        bundle: ModelBundle,
    ) -> None:
        self.config, self.out, self.data, self.ranks = config, out, data, ranks
        self.bundle = bundle
        self.step = self.saved_step = 0
        self.counters = Counters()
        self.latest_bad = ""
        self.initial_weights = weights_digest(bundle.model)
        self.model = bundle.model.to(ranks.device)
        if config.precision == "fp64":
            self.model = self.model.double()
        if objective.towers == "image":
            freeze_all_but_image_tower(self.model)
        self._set_training()
        self.ddp_model = wrap_model(self.model, config, ranks)
        self._dtype = next(self.model.parameters()).dtype
        self._columns = make_columns(objective, Feed(bundle, data, config))
        premises = Premises(bundle.width, data.n_classes, config.seed, ranks)
        self.own = OwnParameters(objective, premises, self._dtype)
        self.own.refuse_scaler(config.precision)
        self.optimizer = build_optimizer(config, self.model, self.own.groups(config.weight_decay))
        self.optimizer.register_step_post_hook(self._count_update)
        self.scaler = torch.amp.GradScaler(ranks.device.type, enabled=config.precision == "amp")
        self.averaged = None if config.ema is None else AveragedWeights(self.model, config.ema)
        self.gradient = ExactGradient(objective, self.own, config.precision, ranks)
        self.stream = data.stream(config)
        self._store = CheckpointStore(out / CHECKPOINTS, config.keep)
        self._evaluator = Evaluator(config.evaluation, bundle, ranks.device)
        self._saved_at = time.monotonic()

    @classmethod
    def open(
        cls, config: TrainConfig, objective: Objective, out: Path, data: RunData, ranks: Ranks
    ) -> Run:
        """Build a run, or restore the one that `out` holds; on disk, nothing old is lost."""
        parts = ranks.world * config.accumulate
        if config.batch_size % parts:
            raise ConfigError(
                f"batch size {config.batch_size} does not split into {ranks.world} ranks x "
                f"{config.accumulate} micro-batches"
            )
        config.schedule()
        bundle = build_model(config, objective.model_start)
        check_batchnorm(
            bundle.model,
            frozen=config.freeze_batchnorm,
            accumulate=config.accumulate,
            world=ranks.world,
        )
        run = cls(config, objective, out, data, ranks, bundle)
        run._restore()
        ranks.barrier()
        run._open_log()
        return run

    def close(self) -> None:
        self._log.close()

    def loader(self) -> Loader:
        """Batches from the current step to the end."""
        config, data = self.config, self.data
        read = ReadSettings(
            image=config.image,
            caption=config.caption,
            captions=tuple(source.captions for source in config.sources),
            size_px=self.bundle.image_px,
            max_pixels=config.max_pixels,
            seed=config.seed,
        )
        settings = LoaderSettings(
            workers=config.workers,
            prefetch=config.prefetch,
            stall_timeout_s=config.stall_timeout_s,
            rank=self.ranks.rank,
            world=self.ranks.world,
        )
        steps = {"start": self.step, "end": config.n_steps}
        return Loader(self.stream, data.folders, read, settings, self._columns, **steps)

    def to_device(self, batch: Batch) -> list[dict[str, Any]]:
        """The micro-batches of this rank."""
        return micro_batches(
            batch, self.bundle, self.ranks.device, self._dtype, self.config.accumulate
        )

    def gradient_norm(self) -> float:
        """The norm of the gradients of all parameters, before they are clipped."""
        model, own, limit = (
            self.model.parameters(),
            self.own.parameters(),
            self.config.clip_grad_norm,
        )
        if self.own.is_on_several_ranks:
            return gradient_norm_over_ranks(list(model), own, limit, self.ranks)
        return gradient_norm([*model, *own], limit)

    def sample_names(self, batch: Batch) -> list[str]:
        """`shard/key` of the samples that this rank used in a batch."""
        sources = batch.samples.sources[self._local_rows()]
        plans = self.data.plans
        return [plans[int(s)].name(int(i)) for s, i in zip(sources, batch.used, strict=True)]

    def account(self, step: int, batch: Batch, *, n_bad: int, n_hidden: int) -> None:
        """Count a finished step; `n_bad` and `n_hidden` are sums over ranks."""
        counters = self.counters
        counters.samples += self.config.batch_size
        counters.bad += n_bad
        counters.text_hidden += n_hidden
        if not n_bad:
            return
        rows = self._local_rows()
        sources, planned = batch.samples.sources[rows], batch.samples.indices[rows]
        swaps = [
            (int(sources[i]), int(planned[i]), int(batch.used[i]))
            for i in (planned != batch.used).nonzero()[0]
        ]
        for source, was, now in (swap for part in self.ranks.gather(swaps) for swap in part):
            for index, change in ((was, -1), (now, 1)):
                key = (source, index)
                counters.adjustments[key] = counters.adjustments.get(key, 0) + change
        for bad in (bad for part in self.ranks.gather(batch.bad) for bad in part):
            self.latest_bad = f"{bad.name}: {bad.reason}"
            self._log.bad.write({"step": step + 1, "sample": bad.name, "reason": bad.reason})

    def report(self, step: int, loss: float, norm: float, step_s: float, wait_s: float) -> None:
        """Tell the log files and the live line about a finished step."""
        self.counters.train_s += step_s
        self.counters.wait_s += wait_s
        rate = self.optimizer.param_groups[0]["lr"]
        self._log.live.show(step, loss, rate, step_s, wait_s)
        if not self.ranks.is_main or (step + 1) % self.config.log_every:
            return
        values = {
            "loss": loss,
            "lr": rate,
            "gradient_norm": norm,
            "logit_scale": self.model.logit_scale.exp().item(),  # type: ignore[operator]
            "bad_samples": self.counters.bad,
            "text_hidden": self.counters.text_hidden,
        }
        timing = {
            "step_s": round(step_s, 5),
            "wait_s": round(wait_s, 5),
            "samples_per_s": round(self.config.batch_size / step_s, 2),
        }
        self._log.write("train", step + 1, values, timing)

    def save_is_due(self, step: int) -> bool:
        """Rank 0 decides for all, by step or by the clock."""
        if not self.ranks.is_main:
            return False
        config = self.config
        by_step = config.save_every > 0 and (step + 1) % config.save_every == 0
        minutes = (time.monotonic() - self._saved_at) / 60
        return by_step or (config.save_minutes > 0 and minutes >= config.save_minutes)

    def save(self) -> None:
        """Write a checkpoint of the current step."""
        self.saved_step = self.step
        self._saved_at = time.monotonic()
        part, shards = self.own.part(self.optimizer), self._save_shard()
        if not self.ranks.is_main:
            return
        snapshot = Snapshot(
            step=self.step,
            state_dict=self.model.state_dict(),
            optimizer=self.optimizer.state_dict(),
            scaler=self.scaler.state_dict(),
            averaged=None if self.averaged is None else self.averaged.state,
            counters=self.counters,
            config_json=self.config.as_json(),
            model_json=json.dumps(self.bundle.model_cfg),
            data_digests=self.data.digests,
            initial_weights=self.initial_weights,
            objective=part,
            shards=shards,
        )
        log.info("saved %s", self._store.save(snapshot))

    def _save_shard(self) -> dict[str, Any] | None:
        """Write what this rank stores by itself, and wait for the others."""
        contents, ranks = self.own.shard(), self.ranks
        if contents is None:
            return None
        mark: str = ranks.gather(weights_digest(self.model))[0]
        self._store.save_shard(self.step, ranks.rank, ranks.world, mark, contents)
        ranks.barrier()
        return {"n": ranks.world, "mark": mark}

    def evaluation_is_due(self) -> bool:
        """Whether the steps finished so far call for an evaluation inside the loop."""
        every = self.config.evaluation.every
        return every > 0 and 0 < self.step < self.config.n_steps and self.step % every == 0

    def evaluate(self) -> dict[str, Any]:
        """Measure the current weights (averaged ones, if kept) on rank 0; `{}` elsewhere."""
        values: dict[str, Any] = {}
        if self.ranks.is_main and self._evaluator.is_wanted:
            values = self._evaluator.measure(self.weights(), self.out / "evaluation", self.step)
            self._log.write("evaluation", self.step, values)
            told = "  ".join(f"{k} {v:.4g}" for k, v in values.items() if isinstance(v, float))
            log.info("step %d: %s", self.step, told)
        self.ranks.barrier()
        self._set_training()
        return values

    def weights(self) -> dict[str, Any]:
        """The weights that are measured and exported."""
        return self.model.state_dict() if self.averaged is None else self.averaged.state

    def check_updates(self) -> None:
        """Raise TrainError unless exactly N updates were made, by two independent counts."""
        n = self.config.n_steps
        states = self.optimizer.state.values()
        by_optimizer = {int(state["step"]) for state in states if "step" in state}
        by_optimizer |= self.own.n_updates
        if not (self.step == self.counters.updates == n and by_optimizer == {n}):
            raise TrainError(
                f"expected {n} updates; the loop counts {self.step}, the hook "
                f"{self.counters.updates}, the optimiser {sorted(by_optimizer)}"
            )

    def ledgers(self) -> dict[str, Any]:
        """What was seen up to now; see `accounts`."""
        return ledgers(self.data, self.stream, self.step, self.counters.adjustments, self.out)

    def final_weights(self) -> str:
        return weights_digest(self.model)

    def export(self) -> Path:
        """Write the folder that open_clip loads as `local-dir:`."""
        return export_folder(self.bundle, self.weights(), self.out / MODEL_FOLDER)

    def _restore(self) -> None:
        snapshot = self._store.load_latest()
        if snapshot is None:
            return
        stored = TrainConfig.from_json(snapshot.config_json, f"the checkpoint of {self.out}")
        if differences := self.config.differences(stored):
            raise CheckpointError(
                f"{self.out} holds a run of another config ({'; '.join(differences)}); "
                "give the same settings to go on, or another --out"
            )
        if snapshot.data_digests != self.data.digests:
            raise CheckpointError(
                f"the data of {self.out} changed since its checkpoint of step {snapshot.step}: "
                "shards or selection are not those it was trained on"
            )
        self.model.load_state_dict(snapshot.state_dict)
        shards = self._store.load_shards(snapshot)
        self.own.restore(snapshot.objective, snapshot.optimizer, shards)
        self.optimizer.load_state_dict(snapshot.optimizer)
        self.scaler.load_state_dict(snapshot.scaler)
        if self.averaged is not None and snapshot.averaged is not None:
            for name, value in snapshot.averaged.items():
                self.averaged.state[name].copy_(value)
        self.step = self.saved_step = snapshot.step
        self.counters = snapshot.counters
        self.initial_weights = snapshot.initial_weights
        log.info("going on after step %d of %d", self.step, self.config.n_steps)

    def _open_log(self) -> None:
        config, main = self.config, self.ranks.is_main
        if main:
            write_text(self.out / CONFIG, config.as_json())
        live = LiveLine(config.n_steps, config.batch_size, shown=main)
        tracker = open_tracker(config, self.out, self.step) if main else None
        self._log = RunLog(self.out, self.step, live, tracker=tracker, written=main)

    def _set_training(self) -> None:
        self.model.train()
        if self.config.freeze_batchnorm:
            freeze_batchnorm(self.model)

    def _local_rows(self) -> slice:
        rows = self.config.batch_size // self.ranks.world
        return slice(self.ranks.rank * rows, (self.ranks.rank + 1) * rows)

    def _count_update(self, *_: object) -> None:
        self.counters.updates += 1
