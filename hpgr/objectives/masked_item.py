"""Predict items that are hidden in a history, some at random and some as whole sessions.

Sun et al., CIKM 2019, arXiv:1904.06690 (random masking); Chen et al., WWW 2026, arXiv:2603.00980 (session-aware pre-training).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from hpgr.core.batch import History
from hpgr.core.errors import ConfigError
from hpgr.core.jagged import position_in_row
from hpgr.objectives import Targets, Task
from hpgr.objectives.costs import FullSoftmax, ItemCost
from hpgr.objectives.kinds import check_actions, of_kind
from hpgr.objectives.newest_events import newest_events


class MaskedItem:
    """Hides events and expects their items; a request appends one hidden event at ``now_ms``.

    Departs: masking whole sessions and always hiding at least one event of a non-empty history are ours; the HPGR
    article's mask ratio is not known. A hidden item always becomes the mask vector, as in BERT4Rec's released settings.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``mask_prob``: chance of an event; ``session_mask_prob``: chance of a whole session; ``last_prob``: chance that a
        user's newest event is hidden on top, which is the question a request asks. ``exact_count``: of a user's ``n``
        events exactly ``min(max_predictions, max(1, round(mask_prob * n)))`` are hidden, each choice as likely as any
        other, where ``mask_prob`` alone would draw each event for itself. ``force_last_prob``: chance that a user's newest
        event is hidden and no other. ``max_len``: a request reads so many events at most, the hidden one among them, as a
        training window of that length does; None: all that it is given. ``actions``: only events of these kinds are hidden
        and predicted, the others are read; None: all."""

        hides_items: ClassVar[bool] = True

        mask_prob: float = 0.2
        session_mask_prob: float = 0.05
        last_prob: float = 0.5
        exact_count: bool = False
        max_predictions: int | None = None
        force_last_prob: float = 0.0
        max_len: int | None = None
        actions: tuple[int, ...] | None = None
        cost: ItemCost = field(default_factory=lambda: FullSoftmax(temperature=0.1))

        def __post_init__(self) -> None:
            if not 0 < self.mask_prob < 1:
                raise ConfigError(f"mask_prob ({self.mask_prob}) must lie in (0, 1)")
            for name in ("session_mask_prob", "last_prob", "force_last_prob"):
                if not 0 <= getattr(self, name) <= 1:
                    raise ConfigError(f"{name} ({getattr(self, name)}) must lie in [0, 1]")
            if self.max_predictions is not None and self.max_predictions < 1:
                raise ConfigError(f"max_predictions ({self.max_predictions}) must be at least 1, or None for no limit")
            if self.max_predictions is not None and not self.exact_count:
                raise ConfigError(f"max_predictions ({self.max_predictions}) must be None where exact_count is False")
            check_actions(self.actions)
            if self.max_len is not None and self.max_len < 2:
                raise ConfigError(f"max_len ({self.max_len}) must be at least 2, or None for no limit")

        def build(self) -> MaskedItem:
            return MaskedItem(self)

    def __init__(self, config: Config) -> None:
        self.config = config
        self.cost = config.cost
        self.logits = config.cost.logits

    def training_task(self, history: History, generator: torch.Generator) -> Task:
        """Items outside the catalogue may be hidden; they are never predicted."""
        hidden_T = self._drawn(history, generator)
        num_sessions = history.session_offsets.shape[0] - 1
        hidden_T |= _chance(num_sessions, self.config.session_mask_prob, generator, hidden_T)[
            history.session_of_event()
        ]
        some = history.lengths > 0
        last_B = history.user_offsets[1:][some] - 1
        per_user = torch.zeros(history.num_users, dtype=torch.int64, device=last_B.device)
        per_user.index_add_(0, history.user_of_event(), hidden_T.long())
        last_hidden = _chance(last_B.shape[0], self.config.last_prob, generator, hidden_T)
        hidden_T[last_B] |= last_hidden | (per_user[some] == 0)
        if self.config.force_last_prob:
            alone_B = _chance(history.num_users, self.config.force_last_prob, generator, hidden_T)
            hidden_T &= ~alone_B[history.user_of_event()]
            hidden_T[last_B] |= alone_B[some]
        if self.config.actions is not None:
            hidden_T &= of_kind(history.action, self.config.actions)
        return _read_hidden(history, hidden_T)

    def request_task(self, history: History) -> Task:
        if self.config.max_len is not None:
            history = newest_events(history, self.config.max_len - 1)
        asked = history.append(torch.zeros_like(history.now_ms))
        last_B = asked.user_offsets[1:] - 1
        event_T = torch.arange(asked.num_events, device=last_B.device)
        hidden_T = event_T == last_B[asked.user_of_event()]
        return Task(history=asked, hidden_T=hidden_T, read_N=last_B, around=True)

    def loss(self, states_ND: Tensor, task: Task, items: Targets, generator: torch.Generator) -> Tensor:
        assert task.target_N is not None
        known = task.target_N < items.num_items
        return self.cost.loss(states_ND[known], task.target_N[known], items, generator)

    def _drawn(self, history: History, generator: torch.Generator) -> Tensor:
        """``[T]`` bool: the events that ``mask_prob`` hides."""
        if not self.config.exact_count:
            return _chance(history.num_events, self.config.mask_prob, generator, history.item_idx)
        wanted_B = (history.lengths.double() * self.config.mask_prob).round().long()
        wanted_B = wanted_B.clamp(min=1, max=self.config.max_predictions)
        user_T = history.user_of_event()
        shuffled_T = torch.randperm(history.num_events, generator=generator).to(user_T.device)
        # Users in order, the events of each in random order: the first ones of each are hidden.
        shuffled_T = shuffled_T[user_T[shuffled_T].argsort(stable=True)]
        rank_T = position_in_row(history.user_offsets, history.num_events)
        hidden_T = torch.zeros_like(user_T, dtype=torch.bool)
        hidden_T[shuffled_T[rank_T < wanted_B[user_T]]] = True
        return hidden_T


def _chance(size: int, prob: float, generator: torch.Generator, like: Tensor) -> Tensor:
    """``[size]`` bool on the device of ``like``; the draw does not depend on the device."""
    return (torch.rand(size, generator=generator) < prob).to(like.device)


def _read_hidden(history: History, hidden_T: Tensor) -> Task:
    read_N = hidden_T.nonzero().squeeze(1)
    return Task(history=history, hidden_T=hidden_T, read_N=read_N, target_N=history.item_idx[read_N], around=True)
