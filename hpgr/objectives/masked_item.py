"""Predict items that are hidden in a history, some at random and some as whole sessions.

Sun et al., CIKM 2019, arXiv:1904.06690 (random masking); Chen et al., WWW 2026, arXiv:2603.00980 (session-aware pre-training).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from hpgr.core.batch import History
from hpgr.core.errors import ConfigError
from hpgr.objectives import Targets, Task
from hpgr.objectives.costs import FullSoftmax, ItemCost


class MaskedItem:
    """Hides events and expects their items; a request appends one hidden event at ``now_ms``.

    Departs: masking whole sessions and always hiding at least one event of a non-empty history are ours; the HPGR
    article's mask ratio is not known.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``mask_prob``: chance of an event; ``session_mask_prob``: chance of a whole session; ``last_prob``: chance that a
        user's newest event is hidden on top, which is the question a request asks."""

        mask_prob: float = 0.2
        session_mask_prob: float = 0.05
        last_prob: float = 0.5
        cost: ItemCost = field(default_factory=lambda: FullSoftmax(temperature=0.1))

        def __post_init__(self) -> None:
            if not 0 < self.mask_prob < 1:
                raise ConfigError(f"mask_prob ({self.mask_prob}) must lie in (0, 1)")
            for name in ("session_mask_prob", "last_prob"):
                if not 0 <= getattr(self, name) <= 1:
                    raise ConfigError(f"{name} ({getattr(self, name)}) must lie in [0, 1]")

        def build(self) -> MaskedItem:
            return MaskedItem(self)

    def __init__(self, config: Config) -> None:
        self.config = config
        self.cost = config.cost
        self.logits = config.cost.logits

    def training_task(self, history: History, generator: torch.Generator) -> Task:
        """Items outside the catalogue are neither hidden nor predicted."""
        count, device = history.num_events, history.item_idx.device

        def chance(size: int, prob: float) -> Tensor:
            return (torch.rand(size, generator=generator) < prob).to(device)

        hidden_T = chance(count, self.config.mask_prob)
        num_sessions = history.session_offsets.shape[0] - 1
        hidden_T |= chance(num_sessions, self.config.session_mask_prob)[history.session_of_event()]
        some = history.lengths > 0
        last_B = history.user_offsets[1:][some] - 1
        per_user = torch.zeros(history.num_users, dtype=torch.int64, device=device)
        per_user.index_add_(0, history.user_of_event(), hidden_T.long())
        hidden_T[last_B] |= chance(int(some.sum()), self.config.last_prob) | (per_user[some] == 0)
        return _read_hidden(history, hidden_T)

    def request_task(self, history: History) -> Task:
        asked = history.append(torch.zeros_like(history.now_ms))
        last_B = asked.user_offsets[1:] - 1
        hidden_T = torch.zeros(asked.num_events, dtype=torch.bool, device=last_B.device)
        hidden_T[last_B] = True
        return Task(history=asked, hidden_T=hidden_T, read_N=last_B)

    def loss(self, states_ND: Tensor, task: Task, items: Targets, generator: torch.Generator) -> Tensor:
        assert task.target_N is not None
        known = task.target_N < items.num_items
        return self.cost.loss(states_ND[known], task.target_N[known], items, generator)


def _read_hidden(history: History, hidden_T: Tensor) -> Task:
    read_N = hidden_T.nonzero().squeeze(1)
    return Task(history=history, hidden_T=hidden_T, read_N=read_N, target_N=history.item_idx[read_N])
