"""What a frame tells the trainer: its stages in order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainableStage:
    """One stage: whose parameters move, and what they move against.

    ``loss(batch, generator)`` gives ``{"loss": scalar, ...}``; further scalars are monitors. ``inherited`` names the
    parameters (by prefix within ``module``) that an earlier stage has already trained; they move at a smaller rate, which
    the training settings choose. ``before`` runs once when the stage begins, to copy what is inherited.
    ``batches`` says what the loss takes: ``"history"`` or ``"candidates"``.
    """

    name: str
    module: nn.Module
    loss: Callable[[Any, torch.Generator], dict[str, Tensor]]
    batches: str
    inherited: tuple[str, ...] = ()
    before: Callable[[], None] | None = None


class Frame(Protocol):
    """A recommender of any shape."""

    def stages(self) -> tuple[TrainableStage, ...]:
        """The trainable stages in order; empty for a frame that only counts."""
        ...
