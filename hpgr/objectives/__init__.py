"""What is predicted where, against which negatives, at which cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeAlias

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
    where known. ``weight_N``: how much each prediction counts in the mean; None: all alike.
    """

    history: History
    hidden_T: Tensor | None
    read_N: Tensor
    target_N: Tensor | None = None
    weight_N: Tensor | None = None


class Objective(Protocol):
    """Makes tasks from histories and a cost from states.

    A config with ``needs_causal`` asks a state about an event that a state which looks ahead has read.
    """

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


Read: TypeAlias = Callable[[Task], Tensor]
"""The encoder's answer to a task: ``[N, D]``, the states of its ``read_N``."""


class Auxiliary(Protocol):
    """A further cost of the states that an objective trains, with a weight of its own.

    ``takes_pairs``: a batch is a history and one that ends in the same items, row by row; else it is the history twice.
    """

    takes_pairs: ClassVar[bool]

    def before_epoch(self, read: Read, epoch: int, batches: Iterable[Any], generator: torch.Generator) -> None:
        """What must be known of all training data; kept in buffers. As ``TrainableStage.each_epoch``."""
        ...

    def __call__(
        self, read: Read, batch: tuple[History, History], items: Targets, generator: torch.Generator
    ) -> Tensor:
        """What is added to the objective's cost; finite also where nothing can be told from the batch."""
        ...


class Items(Protocol):
    """Vectors of items as an encoder reads them."""

    @property
    def num_items(self) -> int: ...

    def __call__(self, item_idx: Tensor) -> Tensor:
        """``[...]`` int64 to ``[..., D]``."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Adapted:
    """Answers ``state_ND``; how much each counts in training, and a further cost, where the adapter has a say in them."""

    state_ND: Tensor
    weight_N: Tensor | None = None
    cost: Tensor | None = None


class Adapter(Protocol):
    """Moves the encoder's answers by what the user's own events, or a first list, tell; at requests as in training.

    ``weighs``: it gives weights of predictions, so that the cost must tell what each prediction costs.
    """

    weighs: ClassVar[bool]

    def before_epoch(
        self, read: Read, items: Items, epoch: int, batches: Iterable[Any], generator: torch.Generator
    ) -> None:
        """As of ``Auxiliary``; ``read`` gives the encoder's states, not adapted."""
        ...

    def __call__(self, states_ND: Tensor, task: Task, items: Items) -> Adapted:
        """From the encoder's states of the task's readings; a row depends on its own user only, apart from weights and cost."""
        ...
