"""Counted links between the events of one user: what counting models learn and recall.

Source: Markov and skip counts are the folk baselines of sequential recommendation; no one article.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hpgr.core.batch import History
from hpgr.core.errors import ConfigError
from hpgr.core.jagged import position_in_row


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
        age = history.lengths.repeat_interleave(history.lengths) - position_in_row(
            history.user_offsets, history.num_events
        )
        event_N = (age <= self.reach).nonzero().squeeze(1)
        return event_N, 1.0 / age[event_N]
