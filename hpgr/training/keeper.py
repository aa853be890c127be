"""What happens beside the steps of a stage: log lines, validation, checkpoints, stopping."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from hpgr.training.best import BestWeights
from hpgr.training.checkpoint import write
from hpgr.training.interrupts import StopRequest, TrainingInterrupted
from hpgr.training.jsonl import TrainingLog
from hpgr.training.module import StageModule
from hpgr.training.settings import Housekeeping

Validate = Callable[[], Mapping[str, float]]


class Keeper(pl.Callback):
    """Knows how far a stage is and everything that its checkpoint must hold besides the weights.

    ``curve`` has a dictionary an epoch: ``epoch`` and ``step`` (both from 1), means of loss and monitors, ``lr``, ``seconds``
    so far, ``tokens_per_s``, and the validation's metrics under ``valid.NAME``.
    """

    def __init__(
        self, stage: str, best: BestWeights, validate: Validate | None, keep: Housekeeping, origin: dict[str, Any]
    ) -> None:
        self.curve: list[dict[str, Any]] = []
        self.log = TrainingLog(None if keep.folder is None else keep.folder / "train.jsonl")
        self.stop = StopRequest()
        self._stage, self._best, self._validate, self._keep, self._origin = stage, best, validate, keep, origin
        self._seconds_before = 0.0
        self._optimiser_state: dict[str, Any] | None = None
        self._meter_state: dict[str, tuple[float, int]] = {}
        self._epoch_tokens = 0
        self._mark(time.monotonic())

    @property
    def path(self) -> Path | None:
        """Where the checkpoint lies."""
        return None if self._keep.folder is None else self._keep.folder / self._stage / "last.pt"

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
        self._mark(time.monotonic())

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
        line = {"stage": self._stage, "epoch": position.epoch + 1, "step": position.step, **means, "lr": pl_module.lr}
        line |= self._validated(pl_module)
        self._log_epoch(line)
        position.next_epoch()
        pl_module.epoch_meter.clear()
        self._save(trainer, pl_module)
        if self.stop.asked:
            raise self.interrupted(pl_module)
        trainer.should_stop = self._best.exhausted

    def interrupted(self, module: StageModule) -> TrainingInterrupted:
        """The error that tells how to go on."""
        where = f"training of stage {self._stage!r} was interrupted at step {module.position.step}"
        if self.path is None or not self.path.exists():
            return TrainingInterrupted(f"{where}; no checkpoint was kept")
        return TrainingInterrupted(
            f"{where}; its checkpoint is in {self.path.parent}: run the same command with --resume to go on"
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
