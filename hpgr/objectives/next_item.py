"""Predict the item that follows each event. Kang & McAuley, ICDM 2018, arXiv:1808.09781."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from hpgr.core.batch import History
from hpgr.objectives import Targets, Task
from hpgr.objectives.costs import FullSoftmax, ItemCost


class NextItem:
    """Every event but a user's last is told and read, and its successor expected; a request reads the newest event.

    The newest event of a training window is not told at all, so that what a request reads, the newest event told, has
    stood at the same place in training.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        needs_causal: ClassVar[bool] = True

        cost: ItemCost = field(default_factory=FullSoftmax)

        def build(self) -> NextItem:
            return NextItem(self)

    def __init__(self, config: Config) -> None:
        self.cost = config.cost
        self.logits = config.cost.logits

    def training_task(self, history: History, generator: torch.Generator) -> Task:
        """Targets outside the catalogue are not predicted."""
        told = history.without_last()
        follows = torch.ones(history.num_events, dtype=torch.bool, device=history.item_idx.device)
        follows[history.user_offsets[:-1][history.lengths > 0]] = False
        read_N = torch.arange(told.num_events, device=history.item_idx.device)
        return Task(history=told, hidden_T=None, read_N=read_N, target_N=history.item_idx[follows])

    def request_task(self, history: History) -> Task:
        last_B = (history.user_offsets[1:] - 1).masked_fill(history.lengths == 0, -1)
        return Task(history=history, hidden_T=None, read_N=last_B)

    def loss(self, states_ND: Tensor, task: Task, items: Targets, generator: torch.Generator) -> Tensor:
        assert task.target_N is not None
        known = task.target_N < items.num_items
        return self.cost.loss(states_ND[known], task.target_N[known], items, generator)
