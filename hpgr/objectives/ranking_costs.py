"""GRU4Rec's ranking losses as costs: against the batch's other targets and a sample that the batch shares.

Source and formulas: ``losses/ranking.py``. The cross-entropy of GRU4Rec is ``SampledSoftmax(in_batch=True, log_q=True)``.
Departs: the mean is over predictions, not the nominal batch; a negative that is the target itself does not count, where
released GRU4Rec keeps duplicates.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from hpgr.core.errors import ConfigError
from hpgr.objectives import Targets
from hpgr.objectives.held import held_against
from hpgr.objectives.losses.ranking import bpr_costs, bpr_max_costs, top1_costs, top1_max_costs
from hpgr.objectives.negatives import Cost, Sampling, Sharing, mean_cost
from hpgr.objectives.scores import catalogue_logits


class _Negatives(Protocol):
    @property
    def num_negatives(self) -> int: ...
    @property
    def alpha(self) -> float: ...
    @property
    def in_batch(self) -> bool: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Bpr:
    """The chance that the target outranks a negative; for the options see ``Sampling``."""

    num_negatives: int = 2048
    alpha: float = 0.5
    in_batch: bool = True
    shared: Sharing = "batch"

    def __post_init__(self) -> None:
        _sampling(self)

    def logits(self, states_ND: Tensor, items: Targets) -> Tensor:
        return catalogue_logits(states_ND, items)

    def loss(self, states_ND: Tensor, target_N: Tensor, items: Targets, generator: torch.Generator) -> Tensor:
        return _loss(self, bpr_costs, states_ND, target_N, items, generator)


@dataclass(frozen=True, kw_only=True, slots=True)
class Top1:
    """How often a negative outranks the target, and how far negatives are from 0; for the options see ``Sampling``."""

    num_negatives: int = 2048
    alpha: float = 0.5
    in_batch: bool = True

    def __post_init__(self) -> None:
        _sampling(self)

    def logits(self, states_ND: Tensor, items: Targets) -> Tensor:
        return catalogue_logits(states_ND, items)

    def loss(self, states_ND: Tensor, target_N: Tensor, items: Targets, generator: torch.Generator) -> Tensor:
        return _loss(self, top1_costs, states_ND, target_N, items, generator)


@dataclass(frozen=True, kw_only=True, slots=True)
class BprMax:
    """BPR weighed towards the highest negatives; ``penalty`` on their squares, ``elu`` as in ``bpr_max_costs``.

    ``logits`` are before ELU, which changes no order.
    """

    num_negatives: int = 2048
    alpha: float = 0.5
    in_batch: bool = True
    penalty: float = 1.0
    elu: float = 0.5

    def __post_init__(self) -> None:
        _sampling(self)
        for name in ("penalty", "elu"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} ({getattr(self, name)}) must not be negative")

    def logits(self, states_ND: Tensor, items: Targets) -> Tensor:
        return catalogue_logits(states_ND, items)

    def loss(self, states_ND: Tensor, target_N: Tensor, items: Targets, generator: torch.Generator) -> Tensor:
        cost = partial(bpr_max_costs, penalty=self.penalty, elu=self.elu)
        return _loss(self, cost, states_ND, target_N, items, generator)


@dataclass(frozen=True, kw_only=True, slots=True)
class Top1Max:
    """TOP1 weighed towards the highest negatives; for the options see ``Sampling``."""

    num_negatives: int = 2048
    alpha: float = 0.5
    in_batch: bool = True

    def __post_init__(self) -> None:
        _sampling(self)

    def logits(self, states_ND: Tensor, items: Targets) -> Tensor:
        return catalogue_logits(states_ND, items)

    def loss(self, states_ND: Tensor, target_N: Tensor, items: Targets, generator: torch.Generator) -> Tensor:
        return _loss(self, top1_max_costs, states_ND, target_N, items, generator)


def _sampling(of: _Negatives) -> Sampling:
    shared: Sharing = getattr(of, "shared", "batch")
    return Sampling(num_negatives=of.num_negatives, alpha=of.alpha, in_batch=of.in_batch, shared=shared)


def _loss(
    of: _Negatives, cost: Cost, states_ND: Tensor, target_N: Tensor, items: Targets, generator: torch.Generator
) -> Tensor:
    drawn = _sampling(of).draw(target_N, items, generator)
    return mean_cost(states_ND, held_against(items, target_N, drawn), cost)
