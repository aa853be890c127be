"""Predict what follows a history from its last state alone, for encoders whose other states know later events."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from hpgr.core.batch import History
from hpgr.core.errors import ConfigError
from hpgr.objectives import Targets, Task
from hpgr.objectives.costs import FullSoftmax, ItemCost
from hpgr.objectives.prefixes import prefixes


class LastItem:
    """Beginnings of a window are rows of their own, and each expects the event behind it; a request reads the newest event.

    Departs: the usual expansion lists all beginnings in every epoch; here some are drawn anew for each batch.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``num_prefixes``: different beginnings drawn of each window, None for all, which costs half the square of its
        length."""

        num_prefixes: int | None = 2
        cost: ItemCost = field(default_factory=FullSoftmax)

        def __post_init__(self) -> None:
            if self.num_prefixes is not None and self.num_prefixes < 1:
                raise ConfigError(f"num_prefixes ({self.num_prefixes}) must be at least 1, or None for all")

        def build(self) -> LastItem:
            return LastItem(self)

    def __init__(self, config: Config) -> None:
        self.config = config
        self.cost = config.cost
        self.logits = config.cost.logits

    def training_task(self, history: History, generator: torch.Generator) -> Task:
        """Targets outside the catalogue are not predicted."""
        user_P, length_P = self._drawn(history, generator)
        told = prefixes(history, user_P, length_P)
        target_P = history.item_idx[history.user_offsets[user_P] + length_P]
        return Task(history=told, hidden_T=None, read_N=told.user_offsets[1:] - 1, target_N=target_P)

    def request_task(self, history: History) -> Task:
        last_B = (history.user_offsets[1:] - 1).masked_fill(history.lengths == 0, -1)
        return Task(history=history, hidden_T=None, read_N=last_B)

    def loss(self, states_ND: Tensor, task: Task, items: Targets, generator: torch.Generator) -> Tensor:
        assert task.target_N is not None
        known = task.target_N < items.num_items
        return self.cost.loss(states_ND[known], task.target_N[known], items, generator)

    def _drawn(self, history: History, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """``(user_P, length_P)``: which beginnings, in order."""
        user_T, first_B = history.user_of_event(), history.user_offsets[:-1]
        length_T = torch.arange(history.num_events, device=user_T.device) - first_B[user_T]
        some = length_T > 0
        if self.config.num_prefixes is not None:
            # Events of each user in random order; the first ones that have one before them end a beginning.
            chance_T = torch.rand(history.num_events, generator=generator).to(user_T.device)
            chance_T = chance_T.masked_fill(~some, 2.0)
            order_T = chance_T.argsort()
            order_T = order_T[user_T[order_T].argsort(stable=True)]
            rank_T = torch.empty_like(order_T)
            rank_T[order_T] = torch.arange(history.num_events, device=user_T.device) - first_B[user_T]
            some = some & (rank_T < self.config.num_prefixes)
        return user_T[some], length_T[some]
