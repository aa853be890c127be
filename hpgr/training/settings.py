"""How a stage is trained, and what is kept and shown meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from lightning.pytorch.loggers import Logger

from hpgr.core.errors import ConfigError

_CHOICES = {
    "optimiser": ("adamw", "adagrad"),
    "table_optimiser": ("same", "rowwise"),
    "schedule": ("constant", "cosine"),
    "precision": ("auto", "32", "bf16"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class StageSettings:
    """What decides the weights that a stage ends with; all of it must be equal for a run to be resumed.

    ``lr`` is reached after ``warmup_steps`` and kept (``constant``) or led to 0 over all ``epochs`` (``cosine``);
    inherited parameters move at ``lr * inherited_lr_ratio``. ``optimiser``: ``betas`` are of ``adamw``, ``momentum`` of
    ``adagrad``. ``table_optimiser``: item tables are moved like the rest (``same``), or by ``rowwise`` Adagrad at
    ``lr * table_lr_ratio``, which keeps one number a row, takes sparse gradients, and knows no weight decay.
    ``clip``: largest norm of the gradient, none for no limit.
    ``patience``: epochs without a better ``metric`` before the stage stops, none for never; ``auto`` is the first
    metric that the validation gives. Metrics whose name ends in ``loss`` are better when smaller, others when larger.
    ``questions``: of the validation part, asked after each epoch at most, spread evenly.
    ``precision``: ``auto`` is bf16 autocast on a CUDA device that has it, 32 otherwise. ``limit_batches``: of an epoch.
    """

    epochs: int = 10
    lr: float = 1e-3
    weight_decay: float = 0.0
    optimiser: Literal["adamw", "adagrad"] = "adamw"
    betas: tuple[float, float] = (0.9, 0.98)
    momentum: float = 0.0
    table_optimiser: Literal["same", "rowwise"] = "same"
    table_lr_ratio: float = 1.0
    warmup_steps: int = 0
    schedule: Literal["constant", "cosine"] = "constant"
    clip: float | None = 1.0
    patience: int | None = 3
    metric: str = "auto"
    questions: int = 1000
    precision: Literal["auto", "32", "bf16"] = "auto"
    limit_batches: int | None = None
    inherited_lr_ratio: float = 0.1

    def __post_init__(self) -> None:
        for name, least in (
            ("epochs", 1),
            ("warmup_steps", 0),
            ("patience", 1),
            ("questions", 1),
            ("limit_batches", 1),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ConfigError(f"{name} ({value}) must be at least {least}")
        for name in ("lr", "clip", "table_lr_ratio"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ConfigError(f"{name} ({value}) must be positive and finite")
        for name in ("weight_decay", "inherited_lr_ratio"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise ConfigError(f"{name} ({value}) must be finite and not negative")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"betas ({self.betas}) must be two numbers in [0, 1)")
        if not 0 <= self.momentum < 1:
            raise ConfigError(f"momentum ({self.momentum}) must lie in [0, 1)")
        if self.momentum and self.optimiser == "adamw":
            raise ConfigError(
                f"momentum ({self.momentum}) must be 0 with adamw, which has betas; set optimiser to adagrad"
            )
        if self.table_lr_ratio != 1 and self.table_optimiser == "same":
            raise ConfigError(
                f"table_lr_ratio ({self.table_lr_ratio}) must be 1 where table_optimiser is same; set it to rowwise"
            )
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise ConfigError(f"{name} ({getattr(self, name)}) must be one of {', '.join(known)}")
        if not self.metric:
            raise ConfigError(f"metric ({self.metric!r}) must be the name of a validation metric, or auto")


@dataclass(frozen=True, kw_only=True, slots=True)
class Housekeeping:
    """What does not decide the weights: where checkpoints and the log go, and what is shown.

    ``folder`` takes ``train.jsonl`` and a folder a stage; none keeps nothing. A checkpoint is written after every epoch
    and every ``checkpoint_every_steps``; the log gets a line after every epoch and every ``log_every_steps``.
    ``progress`` shows a bar if standard error is a terminal. ``loggers`` are Lightning's; the caller closes them.
    ``accelerator``: Lightning's name of the device kind. ``workers``: threads that make batches ahead; with 0 they are made
    when they are needed, and either way they are the same.
    """

    folder: Path | None = None
    resume: bool = False
    progress: bool = False
    loggers: tuple[Logger, ...] = ()
    checkpoint_every_steps: int | None = None
    log_every_steps: int = 50
    accelerator: str = "auto"
    workers: int = 0

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise ConfigError(f"workers ({self.workers}) must not be negative; 0 makes batches when they are needed")
        for name in ("checkpoint_every_steps", "log_every_steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} ({value}) must be at least 1")
        if self.resume and self.folder is None:
            raise ConfigError("resume (True) must come with the folder of the run to resume")


def chosen_precision(asked: str, accelerator: str) -> Literal["32-true", "bf16-mixed"]:
    """Lightning's name for the precision that ``asked`` means on this machine."""
    if asked == "auto":
        cuda = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
        asked = "bf16" if cuda and torch.cuda.is_bf16_supported(including_emulation=False) else "32"
    return "bf16-mixed" if asked == "bf16" else "32-true"
