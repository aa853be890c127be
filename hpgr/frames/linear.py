"""A recommender that is one dense table of item-to-item weights, solved in closed form from the training events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hpgr.core.batch import History
from hpgr.core.errors import UnsupportedError
from hpgr.core.jagged import offsets_of
from hpgr.core.units import human_bytes
from hpgr.frames.prior import PopularityPrior
from hpgr.frames.stage import TrainableStage

_BYTES_A_PAIR = 24


class LinearRecommender(nn.Module):
    """Scores are sums of table rows, one for each event that the rule asks.

    The popularity share, far smaller than one event, orders items without weights and answers empty histories.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``rule``: the config of what is solved: ``.counter(num_items)`` and ``.recall(history)``, as ``Ease``.

        ``max_items``: larger catalogues are refused; memory grows with the square of their size, time with the cube.
        """

        rule: Any
        max_items: int = 20_000

        def build(self, *, num_items: int) -> LinearRecommender:
            if num_items > self.max_items:
                need = human_bytes(_BYTES_A_PAIR * num_items**2)
                raise UnsupportedError(
                    f"num_items ({num_items}) must be at most max_items ({self.max_items}): a dense table of that size takes "
                    f"about {need} of memory to solve; raise max_items if you have it, or use item_knn"
                )
            return LinearRecommender(self, num_items)

    weights_VV: Tensor

    def __init__(self, config: Config, num_items: int) -> None:
        super().__init__()
        self.config = config
        self.num_items = num_items
        self.prior = PopularityPrior(num_items)
        self.register_buffer("weights_VV", torch.zeros(num_items, num_items))

    def observe(self, counts_V: Tensor) -> None:
        """Take the training counts of the catalogue ``[V]``."""
        self.prior.observe(counts_V)

    def fit(self, histories: Iterable[History]) -> None:
        """Solve the table for the training histories, each user whole; the catalogue's counts come through ``observe``."""
        counter = self.config.rule.counter(self.num_items)
        for history in histories:
            counter.add(history)
        self.weights_VV = counter.weights()

    def scores(self, history: History) -> Tensor:
        """``[B, V]``."""
        event_N, weight_N = self.config.rule.recall(history)
        known = history.item_idx[event_N] < self.num_items
        event_N, weight_N = event_N[known], weight_N[known]
        asked_B = history.user_of_event()[event_N].bincount(minlength=history.num_users)
        sums_BV = F.embedding_bag(
            history.item_idx[event_N],
            self.weights_VV,
            offsets_of(asked_B)[:-1],
            mode="sum",
            per_sample_weights=weight_N,
        )
        return self.prior.fill(sums_BV + self.prior.log_share_V.exp() * 1e-6, history.lengths == 0)

    def stages(self) -> tuple[TrainableStage, ...]:
        return ()
