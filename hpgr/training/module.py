"""One stage as a LightningModule. Each step has seeds of its own, so a resumed run draws what an unbroken one draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from hpgr.core.errors import ConfigError, HpgrError
from hpgr.core.seeds import derive, torch_generator
from hpgr.frames.stage import TrainableStage
from hpgr.training.adagrad import Adagrad
from hpgr.training.batches import Position, moved, tokens_of
from hpgr.training.by_rows import ByRows, clip_sparse
from hpgr.training.meter import Meter
from hpgr.training.settings import StageSettings


class TrainingDiverged(HpgrError):
    """A loss became infinite or not a number."""


class StageModule(pl.LightningModule):
    """Trains ``stage.module`` against ``stage.loss``; ``total_steps`` is where a cosine schedule ends."""

    def __init__(
        self, stage: TrainableStage, settings: StageSettings, position: Position, *, seed: int, total_steps: int
    ) -> None:
        super().__init__()
        self.module = stage.module
        self.position = position
        self.interval_meter, self.epoch_meter = Meter(), Meter()
        self.tokens = 0
        self._stage, self._settings, self._seed, self._total_steps = stage, settings, seed, total_steps
        self._bad_step: Tensor | None = None

    def rate(self, step: int) -> float:
        """The rate at ``step`` (from 0) of parameters that are not inherited."""
        return self._settings.lr * schedule_factor(self._settings, step, self._total_steps)

    def begin_epoch(self, epoch: int, batches: Iterable[Any]) -> None:
        """What the stage does before an epoch's first step, under seeds of its own; no gradients, eval mode."""
        assert self._stage.each_epoch is not None
        place = self._seed, self._stage.name, "epoch", epoch
        torch.manual_seed(derive(*place))
        self.module.eval()
        with torch.no_grad():
            self._stage.each_epoch(epoch, _OnDevice(batches=batches, device=self.device), torch_generator(*place))
        self.module.train()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """As the settings say, with one group for inherited and one for own parameters; frozen ones are left out."""
        settings, by_rows = self._settings, self._moved_by_rows()
        rest, tables = self._groups(lambda p: id(p) not in by_rows), self._groups(lambda p: id(p) in by_rows)
        optimiser: torch.optim.Optimizer
        if settings.optimiser == "adagrad":
            optimiser = Adagrad(rest, momentum=settings.momentum, weight_decay=settings.weight_decay)
        else:
            # One pass over the weights instead of ten; Lightning does not clip the gradients of such a step under autocast.
            fused = self.device.type == "cpu" and self.trainer.precision == "32-true"
            optimiser = torch.optim.AdamW(
                rest, betas=settings.betas, weight_decay=settings.weight_decay, fused=fused or None
            )
        if not tables:
            return optimiser
        ratio = settings.table_lr_ratio
        return ByRows(optimiser, [g | {"ratio": g["ratio"] * ratio, "lr": g["lr"] * ratio} for g in tables])

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Lightning's, which knows no sparse gradients, or ours where there are some."""
        moved = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if gradient_clip_val is None or not any(p.grad.is_sparse for p in moved):
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        for parameter, gradient in zip(moved, clip_sparse([p.grad for p in moved], gradient_clip_val)):
            parameter.grad = gradient

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """The one move of a batch."""
        return moved(batch, device)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The loss of a batch, under the seeds and the rate of this step.

        Raises: TrainingDiverged if it is not finite; on other devices than a CPU, where asking costs a wait, it is
        ``check_finite`` that raises, before anything is logged or kept.
        """
        step = self.position.step
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.rate(step) * group["ratio"]
        torch.manual_seed(derive(self._seed, self._stage.name, "step", step))
        found = self._stage.loss(batch, torch_generator(self._seed, self._stage.name, "batch", step))
        loss = found["loss"]
        self._note_bad(loss.detach(), step)
        if self.device.type == "cpu":
            self.check_finite()
        self.interval_meter.add(found)
        self.epoch_meter.add(found)
        self.tokens += tokens_of(batch)
        return loss

    def check_finite(self) -> None:
        """Raises: TrainingDiverged if a loss since the beginning was not finite."""
        bad = -1 if self._bad_step is None else int(self._bad_step)
        if bad >= 0:
            stage = self._stage.name
            raise TrainingDiverged(
                f"loss of stage {stage!r} (nan or infinite at step {bad + 1}, lr {self.rate(bad):g}) must be finite; "
                f"set a lower stages.{stage}.lr or stages.{stage}.precision=32"
            )

    def _groups(self, belongs: Callable[[nn.Parameter], bool]) -> list[dict[str, Any]]:
        inherited: list[nn.Parameter] = []
        own: list[nn.Parameter] = []
        for name, parameter in self.module.named_parameters():
            if parameter.requires_grad and belongs(parameter):
                (inherited if name.startswith(self._stage.inherited) else own).append(parameter)
        ratios = ((own, 1.0), (inherited, self._settings.inherited_lr_ratio))
        return [
            {"params": members, "ratio": ratio, "lr": self._settings.lr * ratio} for members, ratio in ratios if members
        ]

    def _moved_by_rows(self) -> set[int]:
        """Ids of the parameters that a row-wise optimiser moves.

        Raises: ConfigError where sparse gradients would reach an optimiser that takes none.
        """
        if self._settings.table_optimiser == "rowwise":
            parts: list[Any] = [getattr(part, "row_parameters", tuple)() for part in self.module.modules()]
            return {id(parameter) for part in parts for parameter in part}
        if any(getattr(part, "sparse", False) for part in self.module.modules()):
            name = f"stages.{self._stage.name}.table_optimiser"
            raise ConfigError(f"sparse (True) of the items must be False where {name} is same; set {name}=rowwise")
        return set()

    def _note_bad(self, loss: Tensor, step: int) -> None:
        if self._bad_step is None:
            self._bad_step = torch.full((), -1, dtype=torch.int64, device=loss.device)
        fresh = ~torch.isfinite(loss) & (self._bad_step < 0)
        self._bad_step = torch.where(fresh, step, self._bad_step)


@dataclass(frozen=True, kw_only=True, slots=True)
class _OnDevice:
    """``batches``, each moved when its turn comes, on every pass."""

    batches: Iterable[Any]
    device: torch.device

    def __iter__(self) -> Iterator[Any]:
        return (moved(batch, self.device) for batch in self.batches)


def schedule_factor(settings: StageSettings, step: int, total_steps: int) -> float:
    """The share of ``lr`` at ``step`` (from 0): linear warm-up, then constant or a half cosine to 0 at ``total_steps``.

    >>> [schedule_factor(StageSettings(warmup_steps=4), step, 10) for step in (0, 1, 3, 4, 9)]
    [0.25, 0.5, 1.0, 1.0, 1.0]
    >>> [round(schedule_factor(StageSettings(schedule="cosine"), step, 4), 3) for step in (0, 1, 2, 4, 9)]
    [1.0, 0.854, 0.5, 0.0, 0.0]
    """
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    if settings.schedule == "constant":
        return 1.0
    done = (step - settings.warmup_steps) / max(1, total_steps - settings.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
