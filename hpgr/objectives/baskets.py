"""Who has what: the different items of each user or session, and the pairs of items that meet in one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from hpgr.core.batch import History
from hpgr.core.jagged import offsets_of

Basket = Literal["user", "session"]
PAIRS_AT_ONCE = 4_000_000


class Baskets:
    """Entries ``(basket, item, count)`` of training histories, whole users batch by batch; memory grows with the entries.

    ``basket``: what is one basket. After ``close``: ``item_N`` and ``count_N`` int64, ordered by basket and item, and
    ``start_N``, ``size_N``: the first entry and the number of entries of the entry's basket.
    """

    def __init__(self, num_items: int, basket: Basket = "user") -> None:
        self.num_items, self.basket = num_items, basket
        self._pieces: list[tuple[Tensor, Tensor]] = []
        self._num_baskets = 0

    def add(self, history: History) -> None:
        """Take the events of ``history`` whose items the catalogue has."""
        of_user = self.basket == "user"
        basket_T = history.user_of_event() if of_user else history.session_of_event()
        known = history.item_idx < self.num_items
        key = (basket_T[known] + self._num_baskets) * self.num_items + history.item_idx[known]
        self._num_baskets += history.num_users if of_user else history.session_offsets.shape[0] - 1
        self._pieces.append(key.unique(return_counts=True))

    def close(self) -> None:
        """Join what was added."""
        nothing = torch.zeros(0, dtype=torch.int64)
        key_N = torch.cat([nothing, *(key for key, _ in self._pieces)])
        self.count_N = torch.cat([nothing, *(count for _, count in self._pieces)])
        self._pieces = []
        self.item_N = key_N % self.num_items
        _, sizes = (key_N // self.num_items).unique_consecutive(return_counts=True)
        self.size_N = sizes.repeat_interleave(sizes)
        self.start_N = offsets_of(sizes)[:-1].repeat_interleave(sizes)

    def meetings(self, entry_M: Tensor) -> tuple[Tensor, Tensor]:
        """``(left_P, right_P)``: each entry of ``entry_M`` with every entry of its basket, itself too."""
        size_M = self.size_N[entry_M]
        before_M = size_M.cumsum(0) - size_M
        left_P = entry_M.repeat_interleave(size_M)
        return left_P, torch.arange(left_P.shape[0]) + (self.start_N[entry_M] - before_M).repeat_interleave(size_M)


def runs(size_N: Tensor, budget: int = PAIRS_AT_ONCE) -> Iterator[tuple[int, int]]:
    """Consecutive ``(first, end)`` whose sizes add up to at most ``budget``, or one where that is larger.

    >>> list(runs(torch.tensor([2, 2, 9, 1]), budget=4))
    [(0, 2), (2, 3), (3, 4)]
    """
    ends_N = size_N.cumsum(0)
    first = 0
    while first < len(ends_N):
        done = int(ends_N[first - 1]) if first else 0
        end = max(int(torch.searchsorted(ends_N, done + budget, right=True)), first + 1)
        yield first, end
        first = end
