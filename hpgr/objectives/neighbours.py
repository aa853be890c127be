"""Items that the same people have: cosine neighbours, counted.

Source: Sarwar, Karypis, Konstan & Riedl, WWW 2001 (item-based neighbours).
Departs: binary columns, a shrinkage in the denominator, only the newest events are asked.
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
class CosineNeighbours:
    """Each item links to its ``num_neighbours`` nearest: ``both / (sqrt(mine · theirs) + shrinkage)``, counted in baskets.

    ``basket``: all that a user, or a session, has. The newest ``reach`` events are asked, the newest with weight 1, each
    older one with ``decay`` times the weight of its successor.
    """

    num_neighbours: int = 100
    shrinkage: float = 10.0
    basket: Basket = "user"
    reach: int = 20
    decay: float = 0.9

    def __post_init__(self) -> None:
        for name in ("num_neighbours", "reach"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} ({getattr(self, name)}) must be at least 1")
        if self.shrinkage < 0:
            raise ConfigError(f"shrinkage ({self.shrinkage}) must be at least 0")
        if self.basket not in get_args(Basket):
            raise UnknownNameError.of("basket", self.basket, get_args(Basket))
        if not 0 < self.decay <= 1:
            raise ConfigError(f"decay ({self.decay}) must lie in (0, 1]")

    def counter(self, num_items: int) -> NeighbourCounter:
        """What reads the training histories."""
        return NeighbourCounter(self, num_items)

    def recall(self, history: History) -> tuple[Tensor, Tensor]:
        """``(event_N, weight_N)``: the newest ``reach`` events of each user."""
        age_T = ages(history)
        event_N = (age_T <= self.reach).nonzero().squeeze(1)
        return event_N, self.decay ** (age_T[event_N] - 1).float()


class NeighbourCounter:
    """Keeps the baskets, then counts the pairs of some items at a time: never more than a block of them in memory."""

    def __init__(self, rule: CosineNeighbours, num_items: int) -> None:
        self.rule, self.num_items = rule, num_items
        self._baskets = Baskets(num_items, rule.basket)

    def add(self, history: History) -> None:
        """Take the baskets of ``history``."""
        self._baskets.add(history)

    def links(self) -> tuple[Tensor, Tensor, Tensor]:
        """``(from_N, to_N, weight_N)``: each item's neighbours, ordered by ``from``, the nearest first."""
        self._baskets.close()
        item_N = self._baskets.item_N
        entry_N = item_N.argsort(stable=True)
        count_V = item_N.bincount(minlength=self.num_items)
        end_V = count_V.cumsum(0)
        pairs_V = torch.zeros_like(count_V).index_add_(0, item_N, self._baskets.size_N)
        pieces = [(entry_N[:0], entry_N[:0], torch.zeros(0))]
        for first, end in runs(pairs_V):
            entries = entry_N[int(end_V[first] - count_V[first]) : int(end_V[end - 1])]
            pieces.append(self._nearest(*self._met(entries, first, end), count_V))
        from_N, to_N, weight_N = (torch.cat(column) for column in zip(*pieces))
        return from_N, to_N, weight_N

    def _met(self, entry_M: Tensor, first: int, end: int) -> tuple[Tensor, Tensor, Tensor]:
        """Items ``first … end-1`` with those that they share a basket with, and in how many."""
        size_M, size = self._baskets.size_N[entry_M], (end - first) * self.num_items
        if size <= max(2 * int(size_M.sum()), 1 << 16):  # a table is faster than sorting where it is well filled
            both = torch.zeros(size, dtype=torch.int64)
            for start, stop in runs(size_M):
                both += self._keys(entry_M[start:stop], first).bincount(minlength=size)
            key_Q = both.nonzero().squeeze(1)
            both_Q = both[key_Q]
        else:
            key_Q, both_Q = self._keys(entry_M, first).unique(return_counts=True)
        return key_Q // self.num_items + first, key_Q % self.num_items, both_Q

    def _keys(self, entry_M: Tensor, first: int) -> Tensor:
        left_P, right_P = (self._baskets.item_N[entry_P] for entry_P in self._baskets.meetings(entry_M))
        return ((left_P - first) * self.num_items + right_P)[left_P != right_P]

    def _nearest(self, from_Q: Tensor, to_Q: Tensor, both_Q: Tensor, count_V: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        norm_Q = (count_V[from_Q].double() * count_V[to_Q]).sqrt()
        cosine_Q = both_Q / (norm_Q + self.rule.shrinkage)
        # Two stable sorts: by item, then the nearest first; of equals, the item that stands first in the catalogue.
        order = cosine_Q.argsort(descending=True, stable=True)
        order = order[from_Q[order].argsort(stable=True)]
        _, sizes = from_Q.unique_consecutive(return_counts=True)
        place = torch.arange(order.shape[0]) - (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
        order = order[place < self.rule.num_neighbours]
        return from_Q[order], to_Q[order], cosine_Q[order].float()
