"""Predict the item that follows each event. Kang & McAuley, ICDM 2018, arXiv:1808.09781."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from hpgr.core.batch import History
from hpgr.core.errors import ConfigError
from hpgr.objectives import Targets, Task
from hpgr.objectives.costs import FullSoftmax, ItemCost
from hpgr.objectives.kinds import check_actions, of_kind


class NextItem:
    """Every event but a user's last is told and read, and its successor expected; a request reads the newest event.

    The newest event of a training window is not told at all, so that what a request reads, the newest event told, has
    stood at the same place in training.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``predict``: ``every`` event but the first of a window, or its ``last`` one only, for windows that are prefixes of
        each other (``windows.sampling=prefixes``). ``actions``: only events of these kinds are predicted, all are read; None:
        all."""

        needs_causal: ClassVar[bool] = True
        takes_weights: ClassVar[bool] = True

        predict: Literal["every", "last"] = "every"
        cost: ItemCost = field(default_factory=FullSoftmax)
        actions: tuple[int, ...] | None = None

        def __post_init__(self) -> None:
            check_actions(self.actions)
            if self.predict not in ("every", "last"):
                raise ConfigError(f"predict ({self.predict}) must be every or last")

        def build(self) -> NextItem:
            return NextItem(self)

    def __init__(self, config: Config) -> None:
        self.config = config
        self.cost = config.cost
        self.logits = config.cost.logits

    def training_task(self, history: History, generator: torch.Generator) -> Task:
        """Targets outside the catalogue are not predicted."""
        told = history.without_last()
        if self.config.predict == "last":
            some = told.lengths > 0
            read_N, next_N = told.user_offsets[1:][some] - 1, history.user_offsets[1:][some] - 1
        else:
            follows = torch.ones(history.num_events, dtype=torch.bool, device=history.item_idx.device)
            follows[history.user_offsets[:-1][history.lengths > 0]] = False
            read_N, next_N = torch.arange(told.num_events, device=history.item_idx.device), follows.nonzero().squeeze(1)
        if self.config.actions is not None:
            kept_N = of_kind(history.action[next_N], self.config.actions)
            read_N, next_N = read_N[kept_N], next_N[kept_N]
        return Task(history=told, hidden_T=None, read_N=read_N, target_N=history.item_idx[next_N])

    def request_task(self, history: History) -> Task:
        last_B = (history.user_offsets[1:] - 1).masked_fill(history.lengths == 0, -1)
        return Task(history=history, hidden_T=None, read_N=last_B)

    def loss(self, states_ND: Tensor, task: Task, items: Targets, generator: torch.Generator) -> Tensor:
        assert task.target_N is not None
        known = task.target_N < items.num_items
        asked = states_ND[known], task.target_N[known], items, generator
        if task.weight_N is None:
            return self.cost.loss(*asked)
        assert hasattr(self.cost, "costs"), "the frame refuses other costs where predictions have weights"
        cost_N, weight_N = self.cost.costs(*asked), task.weight_N[known]
        return (cost_N * weight_N).sum() / weight_N.sum().clamp(min=1e-12)
