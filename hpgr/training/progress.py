"""A progress bar with losses on a terminal; silent elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

import lightning.pytorch as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from hpgr.training.batches import EpochBatches
from hpgr.training.module import StageModule

_EVERY_S = 0.25


class ProgressBar(pl.Callback):
    """One bar a stage on standard error: epoch, batches, mean loss of the epoch so far, time left in the epoch."""

    def __init__(self, stage: str, epochs: int, batches: EpochBatches, *, console: Console | None = None) -> None:
        console = console or Console(stderr=True)
        self._stage, self._epochs, self._batches = stage, epochs, batches
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[costs]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(stage, total=None, costs="")
        self._shown_s = 0.0

    def __enter__(self) -> ProgressBar:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # Reading a loss waits for the device, so it is read a few times a second and not at every step.
        if self._bar.disable or (time.monotonic() - self._shown_s < _EVERY_S and not trainer.is_last_batch):
            return
        assert isinstance(pl_module, StageModule)
        self._shown_s = time.monotonic()
        costs = "  ".join(f"{name} {value:.4g}" for name, value in pl_module.epoch_meter.means().items())
        position = pl_module.position
        self._bar.update(
            self._task,
            description=f"{self._stage} {position.epoch + 1}/{self._epochs}",
            completed=position.step_in_epoch,
            total=self._batches.steps,
            costs=costs,
        )
