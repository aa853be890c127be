"""What happens beside the steps of a stage: log lines, validation, checkpoints, stopping."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch

from hpgr.training.batches import EpochBatches
from hpgr.training.best import BestWeights
from hpgr.training.checkpoint import write
from hpgr.training.interrupts import StopRequest, TrainingInterrupted
from hpgr.training.jsonl import TrainingLog
from hpgr.training.module import StageModule
from hpgr.training.settings import Housekeeping

CHECKPOINT = "last.pt"
Validate = Callable[[], Mapping[str, float]]


class _Since(NamedTuple):
    """When an interval or epoch began, and the tokens read and seconds waited by then."""

    time_s: float
    tokens: int
    waited_s: float


class Keeper(pl.Callback):
    """Knows how far a stage is and everything that its checkpoint must hold besides the weights.

    ``curve`` has a dictionary an epoch: ``epoch`` and ``step`` (both from 1), means of loss and monitors, ``lr`` of the
    last step, ``tokens_per_s`` of its steps, ``wait_share`` of their time in which training stood still for a batch,
    ``seconds`` so far, and the validation's metrics under ``valid.NAME``.
    """

    def __init__(
        self,
        stage: str,
        best: BestWeights,
        validate: Validate | None,
        keep: Housekeeping,
        origin: dict[str, Any],
        feed: EpochBatches,
    ) -> None:
        self.curve: list[dict[str, Any]] = []
        self.lines = TrainingLog(None if keep.folder is None else keep.folder / "train.jsonl")
        self.stop = StopRequest()
        self.stage, self._best, self._validate, self._keep, self._origin = stage, best, validate, keep, origin
        self._feed = feed
        self._seconds_before = 0.0
        self._optimiser_state: dict[str, Any] | None = None
        self._meter_state: dict[str, tuple[float, int]] = {}
        self._begun = time.monotonic()
        self._interval = self._epoch = _Since(self._begun, 0, 0.0)

    @property
    def folder(self) -> Path | None:
        """Where the stage keeps its files."""
        return None if self._keep.folder is None else self._keep.folder / self.stage

    @property
    def seconds(self) -> float:
        """Spent on the stage, also before a resume."""
        return self._seconds_before + time.monotonic() - self._begun

    def restore(self, content: Mapping[str, Any], module: StageModule) -> None:
        """Take up a checkpoint; optimiser and means follow when the Trainer has made their place."""
        module.module.load_state_dict(content["model"])
        for name, value in content["position"].items():
            setattr(module.position, name, value)
        self._best.restore(content["best"])
        self.curve = list(content["curve"])
        self._seconds_before = content["seconds"]
        self._optimiser_state, self._meter_state = content["optimiser"], content["means"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, StageModule)
        if self._optimiser_state is not None:
            trainer.optimizers[0].load_state_dict(self._optimiser_state)
            pl_module.epoch_meter.restore(self._meter_state, pl_module.device)
            self._optimiser_state = None
        self._interval = self._epoch = self._from_now(pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Raises: TrainingInterrupted after a checkpoint, if asked to stop."""
        assert isinstance(pl_module, StageModule)
        position = pl_module.position
        position.next_step()
        if position.step % self._keep.log_every_steps == 0:
            self._log_interval(pl_module)
        # The end of an epoch has its own checkpoint, after validation.
        if trainer.is_last_batch:
            return
        every = self._keep.checkpoint_every_steps
        if self.stop.asked or (every is not None and position.step % every == 0):
            self._save(trainer, pl_module)
        if self.stop.asked:
            raise self.interrupted(pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Raises: TrainingInterrupted after validation and a checkpoint, if asked to stop."""
        assert isinstance(pl_module, StageModule)
        pl_module.check_finite()
        position, means = pl_module.position, pl_module.epoch_meter.means()
        line = self._line("epoch", pl_module, means, self._epoch) | self._validated(pl_module)
        line["seconds"] = self.seconds
        self.lines.write(line)
        self.curve.append({name: value for name, value in line.items() if name not in ("at", "stage")})
        for logger in self._keep.loggers:
            logger.log_metrics({f"{self.stage}/{n}": v for n, v in self.curve[-1].items()}, step=position.step)
            logger.save()
        position.next_epoch()
        pl_module.epoch_meter.clear()
        self._save(trainer, pl_module)
        self._interval = self._epoch = self._from_now(pl_module)
        if self.stop.asked:
            raise self.interrupted(pl_module)
        if self._best.exhausted:
            trainer.should_stop = True

    def interrupted(self, module: StageModule) -> TrainingInterrupted:
        """The error that tells how to go on."""
        where = f"training of stage {self.stage!r} was interrupted at step {module.position.step}"
        if self.folder is None or not (self.folder / CHECKPOINT).exists():
            return TrainingInterrupted(f"{where}; no checkpoint was kept")
        return TrainingInterrupted(
            f"{where}; its checkpoint is in {self.folder}: run the same command with --resume to go on"
        )

    def _validated(self, module: StageModule) -> dict[str, float]:
        if self._validate is None:
            return {}
        module.module.eval()
        with torch.no_grad():
            values = dict(self._validate())
        module.module.train()
        self._best.judge(values, module.position.epoch + 1, module.module)
        return {f"valid.{name}": float(value) for name, value in values.items()}

    def _log_interval(self, module: StageModule) -> None:
        module.check_finite()
        self.lines.write(self._line("step", module, module.interval_meter.means(), self._interval))
        module.interval_meter.clear()
        self._interval = self._from_now(module)

    def _from_now(self, module: StageModule) -> _Since:
        return _Since(time.monotonic(), module.tokens, self._feed.waited_s)

    def _line(self, at: str, module: StageModule, means: dict[str, float], since: _Since) -> dict[str, Any]:
        elapsed = max(time.monotonic() - since.time_s, 1e-9)
        position = module.position
        head = {"at": at, "stage": self.stage, "epoch": position.epoch + 1, "step": position.step}
        return (
            head
            | means
            | {
                "lr": module.rate(position.step - 1),
                "tokens_per_s": (module.tokens - since.tokens) / elapsed,
                "wait_share": (self._feed.waited_s - since.waited_s) / elapsed,
                "seconds": self.seconds,
            }
        )

    def _save(self, trainer: pl.Trainer, module: StageModule) -> None:
        if self.folder is None:
            return
        module.check_finite()
        write(
            self.folder / CHECKPOINT,
            {
                "origin": self._origin,
                "position": asdict(module.position),
                "model": module.module.state_dict(),
                "optimiser": trainer.optimizers[0].state_dict(),
                "means": module.epoch_meter.state(),
                "best": self._best.state(),
                "curve": self.curve,
                "seconds": self.seconds,
            },
        )
