"""A recommender that counts: no gradient, one pass over the training events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hpgr.core.batch import History
from hpgr.frames.prior import PopularityPrior
from hpgr.frames.stage import TrainableStage


class CountingRecommender(nn.Module):
    """Scores are sums of counted links from the newest events to other items; a rule says which links and how heavy.

    The popularity share, far smaller than one count, orders items without links and answers empty histories.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``rule`` is the config of what is counted: ``.links(history)`` and ``.recall(history)``, or None for popularity."""

        rule: Any = None

        def build(self, *, num_items: int) -> CountingRecommender:
            return CountingRecommender(self, num_items)

    link_offsets: Tensor
    link_to: Tensor
    link_weight: Tensor

    def __init__(self, config: Config, num_items: int) -> None:
        super().__init__()
        self.config = config
        self.num_items = num_items
        self.prior = PopularityPrior(num_items)
        self.register_buffer("link_offsets", torch.zeros(num_items + 1, dtype=torch.int64))
        self.register_buffer("link_to", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("link_weight", torch.zeros(0))

    def observe(self, counts_V: Tensor) -> None:
        """Take the training counts of the catalogue ``[V]``."""
        self.prior.observe(counts_V)

    def fit(self, histories: Iterable[History]) -> None:
        """Count the links of the training histories; the catalogue's counts come through ``observe``."""
        if self.config.rule is None:
            return
        pieces = [self._known(*self.config.rule.links(history)) for history in histories]
        key, weight = (torch.cat(column) for column in zip(*pieces)) if pieces else (self.link_to, self.link_weight)
        key, at = key.unique(return_inverse=True)
        summed = torch.zeros(key.shape[0], dtype=torch.float64).index_add_(0, at, weight.double())
        self.link_to, self.link_weight = key % self.num_items, summed.float()
        origin = key // self.num_items
        self.link_offsets = torch.searchsorted(origin, torch.arange(self.num_items + 1))

    def scores(self, history: History) -> Tensor:
        """``[B, V]``."""
        base_V = self.prior.log_share_V.exp() * 1e-6
        scores_BV = base_V.repeat(history.num_users, 1)
        if self.config.rule is not None:
            event_N, weight_N = self.config.rule.recall(history)
            item_N, user_N = history.item_idx[event_N], history.user_of_event()[event_N]
            known = item_N < self.num_items
            item_N, user_N, weight_N = item_N[known], user_N[known], weight_N[known]
            count_N = self.link_offsets[item_N + 1] - self.link_offsets[item_N]
            row = torch.repeat_interleave(torch.arange(item_N.shape[0]), count_N)
            within = torch.arange(row.shape[0]) - (count_N.cumsum(0) - count_N)[row]
            link = self.link_offsets[item_N][row] + within
            at = user_N[row] * self.num_items + self.link_to[link]
            scores_BV.view(-1).index_add_(0, at, self.link_weight[link] * weight_N[row])
        return self.prior.fill(scores_BV, history.lengths == 0)

    def stages(self) -> tuple[TrainableStage, ...]:
        return ()

    def _known(self, from_N: Tensor, to_N: Tensor, weight_N: Tensor) -> tuple[Tensor, Tensor]:
        known = (from_N < self.num_items) & (to_N < self.num_items)
        return from_N[known] * self.num_items + to_N[known], weight_N[known]

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        for name in ("link_to", "link_weight"):
            if prefix + name in state:
                setattr(self, name, torch.empty_like(state[prefix + name]))
        super()._load_from_state_dict(state, prefix, *rest)
