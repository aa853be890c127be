"""What is predicted where, against which negatives, at which cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from hpgr.core.batch import History


class Targets(Protocol):
    """What is predicted: the catalogue as scores are made of it.

    ``log_share_V``: log of each item's share of the training events, for costs that draw or correct by popularity.
    ``sparse``: costs that need few items are to ask for their ``rows``, not for the whole ``table``.
    """

    @property
    def num_items(self) -> int: ...

    @property
    def log_share_V(self) -> Tensor: ...

    @property
    def sparse(self) -> bool: ...

    def table(self) -> Tensor:
        """``[V, D]``: the vectors that states are held against."""
        ...

    def bias(self) -> Tensor | None:
        """``[V]``: what is added to each item's score; None for nothing."""
        ...

    def rows(self, item_idx: Tensor) -> tuple[Tensor, Tensor | None]:
        """``[U, D]`` and ``[U]``: those rows of the table and of the bias."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One question to an encoder.

    ``history``: what it reads (perhaps longer than what came in). ``hidden_T`` bool, or None: events whose item is
    replaced by the mask vector. ``read_N`` int64: the events whose states answer. ``target_N`` int64: the right items,
    where known. ``around``: a reading may look at the events after its own too, since what is asked is hidden.
    """

    history: History
    hidden_T: Tensor | None
    read_N: Tensor
    target_N: Tensor | None = None
    around: bool = False


class Objective(Protocol):
    """Makes tasks from histories and a cost from states."""

    def training_task(self, history: History, generator: torch.Generator) -> Task:
        """What to hide and what to predict in a training batch."""
        ...

    def request_task(self, history: History) -> Task:
        """The question "what comes at ``now_ms``?"; ``read_N`` has one event a user, or -1 where no state can answer."""
        ...

    def logits(self, states_ND: Tensor, items: Targets) -> Tensor:
        """``[N, V]`` scores of the whole catalogue."""
        ...

    def loss(self, states_ND: Tensor, task: Task, items: Targets, generator: torch.Generator) -> Tensor:
        """Mean cost over the task's predictions, in nats; 0 where there is none."""
        ...
