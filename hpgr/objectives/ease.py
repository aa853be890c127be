"""EASE: the linear model that predicts each column of who-has-what from the others, in closed form.

Source: Steck, WWW 2019, arXiv:1905.03375 (equations 4–8). Departs: recency and counts are options of ours, off by default.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor

from hpgr.core.batch import History
from hpgr.core.errors import ConfigError, UnknownNameError
from hpgr.objectives.baskets import Basket, Baskets, runs
from hpgr.objectives.links import ages


@dataclass(frozen=True, kw_only=True, slots=True)
class Ease:
    """``B = I - P / diag(P)`` with ``P = (XᵀX + l2 I)⁻¹``: no item predicts itself; ``X``: baskets × items.

    ``binary``: an item counts once in a basket and once at a request, however often it was met. ``basket``: all that a
    user, or a session, has. At a request every event is asked, ``decay`` times as heavy as its successor.
    """

    l2: float = 250.0
    binary: bool = True
    basket: Basket = "user"
    decay: float = 1.0

    def __post_init__(self) -> None:
        if not self.l2 > 0:
            raise ConfigError(f"l2 ({self.l2}) must be greater than 0")
        if self.basket not in get_args(Basket):
            raise UnknownNameError.of("basket", self.basket, get_args(Basket))
        if not 0 < self.decay <= 1:
            raise ConfigError(f"decay ({self.decay}) must lie in (0, 1]")

    def counter(self, num_items: int) -> EaseCounter:
        """What reads the training histories."""
        return EaseCounter(self, num_items)

    def recall(self, history: History) -> tuple[Tensor, Tensor]:
        """``(event_N, weight_N)``; where binary, of a user's events with one item only the newest."""
        event_N = _newest_of_item(history) if self.binary else torch.arange(history.num_events)
        return event_N, self.decay ** (ages(history)[event_N] - 1).float()


class EaseCounter:
    """Keeps the baskets, then adds up ``XᵀX`` pair by pair and inverts it; three dense tables of float64 at the most."""

    def __init__(self, rule: Ease, num_items: int) -> None:
        self.rule, self.num_items = rule, num_items
        self._baskets = Baskets(num_items, rule.basket)

    def add(self, history: History) -> None:
        """Take the baskets of ``history``."""
        self._baskets.add(history)

    def weights(self) -> Tensor:
        """``[V, V]`` float32: what having item ``i`` adds to the score of item ``j``."""
        gram_VV = self._gram()
        gram_VV.diagonal().add_(self.rule.l2)
        factor_VV = torch.linalg.cholesky(gram_VV)
        del gram_VV
        inverse_VV = torch.cholesky_inverse(factor_VV)
        del factor_VV
        weights_VV = inverse_VV.div_(-inverse_VV.diagonal().clone()).float()
        weights_VV.fill_diagonal_(0)
        return weights_VV

    def _gram(self) -> Tensor:
        self._baskets.close()
        item_N, count_N = self._baskets.item_N, self._baskets.count_N
        gram_VV = torch.zeros(self.num_items, self.num_items, dtype=torch.float64)
        for first, end in runs(self._baskets.size_N):
            left_P, right_P = self._baskets.meetings(torch.arange(first, end))
            key_P = item_N[left_P] * self.num_items + item_N[right_P]
            both_P = torch.ones(key_P.shape[0]) if self.rule.binary else count_N[left_P] * count_N[right_P]
            gram_VV.view(-1).index_add_(0, key_P, both_P.double())
        return gram_VV


def _newest_of_item(history: History) -> Tensor:
    """``[N]`` int64, ascending: the events that their user does not repeat later."""
    user_T = history.user_of_event()
    order = history.item_idx.argsort(stable=True)
    order = order[user_T[order].argsort(stable=True)]
    same = (history.item_idx[order].diff() == 0) & (user_T[order].diff() == 0)
    is_last = torch.ones_like(order, dtype=torch.bool)
    is_last[:-1] = ~same
    return order[is_last].sort().values
