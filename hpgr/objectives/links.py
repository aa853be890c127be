"""Counted links between the events of one user: what counting models learn and recall.

Source: Markov and skip counts are the folk baselines of sequential recommendation; no one article.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from hpgr.core.batch import History
from hpgr.core.errors import ConfigError
from hpgr.core.jagged import position_in_row
from hpgr.ops.keyed_sums import KeyedSums


class LinkRule(Protocol):
    """Links that one batch of training histories shows; those of all batches are added up."""

    def links(self, history: History) -> tuple[Tensor, Tensor, Tensor]:
        """``(from_N, to_N, weight_N)``: items linked by the training events; ``V`` is any item outside the catalogue."""
        ...

    def recall(self, history: History) -> tuple[Tensor, Tensor]:
        """``(event_N, weight_N)``: the events that are asked when something is to be recommended."""
        ...


class LinkCounter(Protocol):
    """Reads the training histories, whole users batch by batch, then tells the links."""

    def add(self, history: History) -> None: ...

    def links(self) -> tuple[Tensor, Tensor, Tensor]:
        """``(from_N, to_N, weight_N)`` ordered by ``from``, every pair once; weights float32."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class SkipLinks:
    """Each event links to the next ``reach`` ones, and the newest ``reach`` events are asked; both weigh ``1 / distance``.

    ``reach = 1`` is a first-order Markov chain.
    """

    reach: int = 3

    def __post_init__(self) -> None:
        if self.reach < 1:
            raise ConfigError(f"reach ({self.reach}) must be at least 1")

    def links(self, history: History) -> tuple[Tensor, Tensor, Tensor]:
        """``(from_N, to_N, weight_N)``: items linked by the training events."""
        left = history.user_offsets[1:].repeat_interleave(history.lengths) - torch.arange(history.num_events)
        pieces = []
        for distance in range(1, self.reach + 1):
            at = (left > distance).nonzero().squeeze(1)
            weight = torch.full(at.shape, 1.0 / distance)
            pieces.append((history.item_idx[at], history.item_idx[at + distance], weight))
        from_N, to_N, weight_N = (torch.cat(column) for column in zip(*pieces))
        return from_N, to_N, weight_N

    def recall(self, history: History) -> tuple[Tensor, Tensor]:
        """``(event_N, weight_N)``: the events that are asked when something is to be recommended."""
        age_T = ages(history)
        event_N = (age_T <= self.reach).nonzero().squeeze(1)
        return event_N, 1.0 / age_T[event_N]


class SummedLinks:
    """The links of a rule added up over the training histories; memory grows with the different pairs, not with the log."""

    def __init__(self, rule: LinkRule, num_items: int) -> None:
        self.rule, self.num_items = rule, num_items
        self._sums = KeyedSums()

    def add(self, history: History) -> None:
        """Count the links of ``history``; those from or to items outside the catalogue are left out."""
        from_N, to_N, weight_N = self.rule.links(history)
        known = (from_N < self.num_items) & (to_N < self.num_items)
        self._sums.add(from_N[known] * self.num_items + to_N[known], weight_N[known])

    def links(self) -> tuple[Tensor, Tensor, Tensor]:
        """``(from_N, to_N, weight_N)`` ordered by ``from`` and ``to``."""
        key_N, weight_N = self._sums.found()
        return key_N // self.num_items, key_N % self.num_items, weight_N.float()


def ages(history: History) -> Tensor:
    """``[T]`` int64: 1 for a user's newest event, 2 for the one before it."""
    place_T = position_in_row(history.user_offsets, history.num_events)
    return history.lengths.repeat_interleave(history.lengths) - place_T
