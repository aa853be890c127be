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
from hpgr.frames.tie_breaking import by_popularity
from hpgr.objectives.links import LinkCounter, SummedLinks

# Small enough for shares to stay shares of nothing beside a count; links stand above it however light they are.
_WITHOUT_LINK = 1e-6


class CountingRecommender(nn.Module):
    """Scores are sums of counted links from the newest events to other items; a rule says which links and how heavy.

    Popularity decides between equal sums, orders the items without links, all of them last, and answers empty histories.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``rule``: the config of what is counted, or None for popularity alone: ``.recall(history)`` and either
        ``.links(history)`` of one batch or ``.counter(num_items)`` of all; no weight may be negative. ``clock``: of what
        popularity is the share (``hpgr.objectives.clocks``); of all training events where None."""

        rule: Any = None
        clock: Any = None

        def build(self, *, num_items: int) -> CountingRecommender:
            return CountingRecommender(self, num_items)

    link_offsets: Tensor
    link_to: Tensor
    link_weight: Tensor
    clock_counts_RV: Tensor

    def __init__(self, config: Config, num_items: int) -> None:
        super().__init__()
        self.config = config
        self.num_items = num_items
        self.prior = PopularityPrior(num_items)
        self.register_buffer("link_offsets", torch.zeros(num_items + 1, dtype=torch.int64))
        self.register_buffer("link_to", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("link_weight", torch.zeros(0))
        if config.clock is not None:
            self.register_buffer("clock_counts_RV", torch.zeros(config.clock.num_rows, num_items))

    def observe(self, counts_V: Tensor) -> None:
        """Take the training counts of the catalogue ``[V]``."""
        self.prior.observe(counts_V)

    def fit(self, histories: Iterable[History]) -> None:
        """Count in the training histories, each user whole; the catalogue's counts come through ``observe``."""
        links = self._link_counter()
        clock = None if self.config.clock is None else self.config.clock.counter(self.num_items)
        counters = [counter for counter in (links, clock) if counter is not None]
        if not counters:
            return
        for history in histories:
            for counter in counters:
                counter.add(history)
        if links is not None:
            from_N, self.link_to, self.link_weight = links.links()
            self.link_offsets = torch.searchsorted(from_N, torch.arange(self.num_items + 1))
        if clock is not None:
            self.clock_counts_RV = clock.counts()

    def scores(self, history: History) -> Tensor:
        """``[B, V]``."""
        log_share_BV = self._log_share(history)
        base_BV = log_share_BV.exp() * _WITHOUT_LINK
        scores_BV = base_BV.expand(history.num_users, -1).contiguous()
        if self.config.rule is not None:
            at_N, sum_N = self._sums(history)
            user_N = at_N // self.num_items
            cell_N = user_N % len(base_BV) * self.num_items + at_N % self.num_items
            floor_N = base_BV.amax(1)[user_N % len(base_BV)]
            scores_BV.view(-1)[at_N] = by_popularity(user_N, sum_N, base_BV.view(-1)[cell_N], floor_N)
        empty = (history.lengths == 0).nonzero().squeeze(1)
        scores_BV[empty] = log_share_BV.expand(history.num_users, -1)[empty]
        return scores_BV

    def stages(self) -> tuple[TrainableStage, ...]:
        return ()

    def _link_counter(self) -> LinkCounter | None:
        rule = self.config.rule
        if rule is None:
            return None
        counter: LinkCounter = (
            rule.counter(self.num_items) if hasattr(rule, "counter") else SummedLinks(rule, self.num_items)
        )
        return counter

    def _sums(self, history: History) -> tuple[Tensor, Tensor]:
        """``(at_N, sum_N)``: each ``user * V + item`` that a recalled event links to, ascending, and its weight (float64)."""
        event_N, weight_N = self.config.rule.recall(history)
        item_N, user_N = history.item_idx[event_N], history.user_of_event()[event_N]
        known = item_N < self.num_items
        item_N, user_N, weight_N = item_N[known], user_N[known], weight_N[known]
        count_N = self.link_offsets[item_N + 1] - self.link_offsets[item_N]
        row = torch.repeat_interleave(torch.arange(item_N.shape[0]), count_N)
        within = torch.arange(row.shape[0]) - (count_N.cumsum(0) - count_N)[row]
        link = self.link_offsets[item_N][row] + within
        at_N, cell = (user_N[row] * self.num_items + self.link_to[link]).unique(return_inverse=True)
        weight = self.link_weight[link].double() * weight_N[row].double()
        return at_N, torch.zeros(at_N.shape, dtype=torch.float64).index_add_(0, cell, weight)

    def _log_share(self, history: History) -> Tensor:
        """``[B, V]`` or ``[1, V]``: the logarithm of each item's share of the events that make it popular at ``now_ms``."""
        log_share_V, clock = self.prior.log_share_V, self.config.clock
        if clock is None:
            return log_share_V[None]
        counts_BV = self.clock_counts_RV[clock.row(history.now_ms)] + clock.smoothing * log_share_V.exp()
        return (counts_BV / counts_BV.sum(1, keepdim=True)).log()

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        for name in ("link_to", "link_weight"):
            if prefix + name in state:
                setattr(self, name, torch.empty_like(state[prefix + name]))
        super()._load_from_state_dict(state, prefix, *rest)
