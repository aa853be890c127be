"""What a frame tells the trainer: its stages in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
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
    ``batches`` says what the loss takes: ``"history"``, ``"pairs"`` (a history and one that ends in the same items, row by
    row), ``"shown"`` (a history and what was shown in each of its sessions) or ``"candidates"``.

    ``each_epoch(epoch, batches, generator)`` runs before the first step of every epoch (counted from 0), without gradients
    and in eval mode. ``batches`` are those of the epoch, the same on every pass. What it makes must be state of the module
    (buffers of fixed shapes) and follow from it, the batches and the generator, so that a resumed run has it again.

    Validation of a stage that retrieves gives ``metrics``, the deciding one first. Of the first ``warm_epochs`` epochs none is the
    best one, and none counts against patience: what the module is made for has not begun.
    """

    name: str
    module: nn.Module
    loss: Callable[[Any, torch.Generator], dict[str, Tensor]]
    batches: str
    inherited: tuple[str, ...] = ()
    before: Callable[[], None] | None = None
    each_epoch: Callable[[int, Iterable[Any], torch.Generator], None] | None = None
    metrics: tuple[str, ...] = ("NDCG@10", "HitRate@10")
    warm_epochs: int = 0


class Frame(Protocol):
    """A recommender of any shape."""

    def stages(self) -> tuple[TrainableStage, ...]:
        """The trainable stages in order; empty for a frame that only counts."""
        ...
