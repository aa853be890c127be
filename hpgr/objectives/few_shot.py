"""Learning from a user's few events before answering: a transition vector starts from what the user's cluster knows.

Maheri et al., arXiv:2307.13766 (clusters of users, minor users kept); the scorer and its inner step: MetaTL, Wang et al.,
SIGIR 2021. Departs: how clusters enter is ours, because the article's formulas are not known; see ``docs/models/clusterseq.md``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from hpgr.core.errors import ConfigError
from hpgr.nn.feed_forward import normed_mlp
from hpgr.nn.inner_loop import inner_loop
from hpgr.nn.soft_clusters import SoftClusters, balanced_weights, imbalance_cost, sharpening_cost
from hpgr.objectives import Adapted, Items, Read, Task
from hpgr.objectives.losses.margin import distances, distances_to, margin_costs
from hpgr.objectives.state_before_last import before_last, histories
from hpgr.objectives.support import Support

# Far more than there are items: the rest of a division by their number is as good as uniform.
_NUMBERS = 2**48


class FewShot(nn.Module):
    """The newest ``num_support`` events until a reading are its support. Their transitions give a vector ``r``; steps against
    their own margin ranking move it; the answer is the newest event's vector plus ``r``.

    What is known of the user at first is the mean of an MLP over the transitions plus a map of the encoder's state, which
    begins at 0; it is what clusters are of, and ``r`` starts there, plus each cluster's own offset by the share in it. The
    negatives of the support are a pool that all users share, drawn anew before each epoch and kept for requests.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``num_steps``, ``rate``: of the inner loop; the rate is learned where ``learn_rate``. ``margin``, ``num_negatives``: of
        the support's cost. ``clusters`` None: one start for all, and every prediction counts alike. ``warm_epochs``: so many
        are trained before k-means places the centres. ``sharpen``, ``balance``: weights of what keeps clusters apart, and
        alike in size."""

        num_support: int = 5
        num_steps: int = 1
        rate: float = 1.0
        learn_rate: bool = True
        margin: float = 1.0
        num_negatives: int = 16
        dropout: float = 0.2
        clusters: SoftClusters.Config | None = field(default_factory=SoftClusters.Config)
        warm_epochs: int = 3
        sharpen: float = 0.1
        balance: float = 0.01

        weighs: ClassVar[bool] = True

        def __post_init__(self) -> None:
            for name, least in (("num_support", 2), ("num_steps", 0), ("num_negatives", 1), ("warm_epochs", 0)):
                if getattr(self, name) < least:
                    raise ConfigError(f"{name} ({getattr(self, name)}) must be at least {least}")
            for name in ("rate", "margin"):
                if not getattr(self, name) > 0:
                    raise ConfigError(f"{name} ({getattr(self, name)}) must be greater than 0")
            for name in ("sharpen", "balance"):
                if not getattr(self, name) >= 0:
                    raise ConfigError(f"{name} ({getattr(self, name)}) must not be negative")
            if not 0 <= self.dropout < 1:
                raise ConfigError(f"dropout ({self.dropout}) must lie in [0, 1)")

        def build(self, *, dim: int) -> FewShot:
            return FewShot(self, dim)

    pool_M: Tensor

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        self.config = config
        # Normed over width, not over the transitions: their number may vary.
        self.relation = normed_mlp((2 * dim, 5 * dim, 2 * dim, dim), dropout=config.dropout)
        self.from_state = nn.Linear(dim, dim, bias=False)
        nn.init.zeros_(self.from_state.weight)
        log_rate = torch.tensor(float(config.rate)).log()
        self.log_rate = nn.Parameter(log_rate, requires_grad=config.learn_rate)
        self.clusters = config.clusters.build(dim=dim) if config.clusters else None
        num_clusters = config.clusters.num_clusters if config.clusters else 0
        self.offset_CD = nn.Parameter(torch.zeros(num_clusters, dim))
        self.register_buffer("pool_M", torch.randint(_NUMBERS, (config.num_negatives,)))
        self.monitors: dict[str, Tensor] = {}

    @property
    def warm_epochs(self) -> int:
        """Epochs without clusters."""
        return self.config.warm_epochs if self.clusters is not None else 0

    def before_epoch(
        self, read: Read, items: Items, epoch: int, batches: Iterable[Any], generator: torch.Generator
    ) -> None:
        """Draw the pool; after the warm epochs place the centres among what is known of the training windows at first."""
        self.pool_M.copy_(torch.randint(_NUMBERS, self.pool_M.shape, generator=generator))
        if self.clusters is not None and epoch >= self.config.warm_epochs and not bool(self.clusters.begun):
            tasks = (before_last(history) for history in histories(batches))
            self.clusters.begin((self._known(read(task), task, items) for task in tasks), generator)

    def forward(self, states_ND: Tensor, task: Task, items: Items) -> Adapted:
        """Each reading's answer; the weights of predictions and the clusters' costs once the centres are placed."""
        if not task.history.num_events:
            return Adapted(state_ND=states_ND)
        if torch.is_inference_mode_enabled():
            # What is made in inference mode cannot be differentiated, and the inner loop does.
            with torch.inference_mode(False), torch.no_grad():
                return self(states_ND.clone(), task, items)
        with torch.autocast(states_ND.device.type, enabled=False):
            return self._adapted(states_ND.to(self.offset_CD.dtype), Support.of(task, self.config.num_support), items)

    def _known(self, states_ND: Tensor, task: Task, items: Items) -> Tensor:
        """What is known at first of the readings that have events."""
        there = task.read_N >= 0
        task = replace(task, read_N=task.read_N[there])
        support = Support.of(task, self.config.num_support)
        return self._at_first(states_ND[there], items(support.item_NS), support)

    def _adapted(self, states_ND: Tensor, support: Support, items: Items) -> Adapted:
        x_NSD = items(support.item_NS)
        start_ND = self._at_first(states_ND, x_NSD, support)
        found = Adapted(state_ND=start_ND)
        if self.clusters is not None and bool(self.clusters.begun):
            share_NC = self.clusters(start_ND)
            start_ND = start_ND + share_NC @ self.offset_CD
            cost = self.config.sharpen * sharpening_cost(share_NC) + self.config.balance * imbalance_cost(share_NC)
            found = Adapted(state_ND=start_ND, weight_N=balanced_weights(share_NC), cost=cost)
            self.monitors = {"largest_cluster": share_NC.detach().mean(0).max()}
        cost_of = self._support_cost(x_NSD, support, items)
        fast_ND = inner_loop(cost_of, start_ND, self.log_rate.exp(), num_steps=self.config.num_steps)
        return replace(found, state_ND=x_NSD[:, -1] + fast_ND)

    def _at_first(self, states_ND: Tensor, x_NSD: Tensor, support: Support) -> Tensor:
        """``[N, D]``: the mean over a reading's transitions, 0 without any, plus the map of its state."""
        found_NPD = self.relation(torch.cat([x_NSD[:, :-1], x_NSD[:, 1:]], 2))
        counts_NP1 = support.counts_NP[:, :, None].to(found_NPD.dtype)
        return (found_NPD * counts_NP1).sum(1) / counts_NP1.sum(1).clamp(min=1) + self.from_state(states_ND)

    def _support_cost(self, x_NSD: Tensor, support: Support, items: Items) -> Any:
        """What a reading's transitions cost under its ``r``: a function ``[N, D]`` → ``[N]``; 0 without transitions."""
        rows_M = self.pool_M % items.num_items
        negative_MD = items(rows_M)
        fair_NM = (support.item_NS[:, :, None] != rows_M).all(1)
        counts_NPM = (support.counts_NP[:, :, None] & fair_NM[:, None]).to(x_NSD.dtype)

        def cost(r_ND: Tensor) -> Tensor:
            reached_NPD = x_NSD[:, :-1] + r_ND[:, None]
            positive_NP = distances(reached_NPD, x_NSD[:, 1:])
            cost_NPM = margin_costs(positive_NP[:, :, None], distances_to(reached_NPD, negative_MD), self.config.margin)
            return (cost_NPM * counts_NPM).sum((1, 2)) / counts_NPM.sum((1, 2)).clamp(min=1)

        return cost
