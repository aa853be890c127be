"""Which items a prediction is held against when the catalogue is too long, and the mean cost over them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from hpgr.core.errors import ConfigError, UnknownNameError
from hpgr.objectives import Targets
from hpgr.objectives.gathered import gathered_scores
from hpgr.objectives.held import Drawn, Held

# (positive_N, negative_NC, counts_NC bool) to [N]: what each prediction costs.
Cost: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
Sharing: TypeAlias = Literal["prediction", "batch"]

# Scores of negatives that stand in memory together; more are computed again for the gradient.
_TOGETHER = 2**24


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """Draws ``num_negatives`` items with replacement, each with probability ∝ training count^``alpha`` (0: uniform).

    ``shared``: each ``prediction`` its own, or one set for the whole ``batch``. ``in_batch``: the targets of the batch's
    other predictions are negatives besides.
    """

    num_negatives: int
    alpha: float = 0.0
    shared: Sharing = "batch"
    in_batch: bool = False

    def __post_init__(self) -> None:
        least = 0 if self.in_batch else 1
        if self.num_negatives < least:
            raise ConfigError(f"num_negatives ({self.num_negatives}) must be at least {least}")
        if not self.alpha >= 0:
            raise ConfigError(f"alpha ({self.alpha}) must not be negative")
        if self.shared not in ("prediction", "batch"):
            raise UnknownNameError.of("sharing", self.shared, ("prediction", "batch"))

    def draw(self, target_N: Tensor, items: Targets, generator: torch.Generator) -> Drawn:
        count, nothing = target_N.shape[0], target_N[:0]
        others_N = target_N if self.in_batch else nothing
        if self.shared == "prediction":
            return Drawn(shared_C=others_N, own_NM=self._rows((count, self.num_negatives), items, target_N, generator))
        drawn_M = self._rows((self.num_negatives,), items, target_N, generator)
        return Drawn(shared_C=torch.cat([others_N, drawn_M]), own_NM=nothing.new_zeros((count, 0)))

    def log_expected(self, items: Targets, num_predictions: int, rows_U: Tensor | None = None) -> Tensor:
        """``[V]``, or ``[U]`` of some rows: log of how often each item is expected among the negatives of one prediction,
        from both sources."""
        if rows_U is not None:
            share_U, every_V = items.log_share_V[rows_U].double(), items.log_share_V
            drawn_U = (self.alpha * share_U - _log_sum(self.alpha, every_V)).exp() * self.num_negatives
            in_batch_U = (share_U - _log_sum(1.0, every_V)).exp() * num_predictions if self.in_batch else 0.0
            return (drawn_U + in_batch_U).log()
        share_V = items.log_share_V.double()
        drawn_V = (self.alpha * share_V).softmax(0) * self.num_negatives
        in_batch_V = share_V.softmax(0) * num_predictions if self.in_batch else torch.zeros_like(drawn_V)
        return (drawn_V + in_batch_V).log()

    def _rows(self, size: tuple[int, ...], items: Targets, like: Tensor, generator: torch.Generator) -> Tensor:
        if self.alpha == 0:
            return torch.randint(items.num_items, size, generator=generator).to(like.device)
        bound_V = (self.alpha * items.log_share_V.double()).softmax(0).cumsum(0)
        at = torch.rand(size, generator=generator, dtype=torch.float64).to(like.device)
        # Sums of shares may end a rounding short of 1.
        return torch.searchsorted(bound_V, at, right=True).clamp(max=items.num_items - 1)


def other_items(num_negatives: int, target_N: Tensor, num_items: int, generator: torch.Generator) -> Drawn:
    """For each prediction alone ``num_negatives`` items that are not its target, uniform, with replacement."""
    size = (target_N.shape[0], num_negatives if num_items > 1 else 0)
    rows_NM = torch.randint(max(1, num_items - 1), size, generator=generator).to(target_N.device)
    # The rows behind the target move up by one.
    return Drawn(shared_C=target_N[:0], own_NM=rows_NM + (rows_NM >= target_N[:, None]))


def mean_cost(states_ND: Tensor, held: Held, cost: Cost) -> Tensor:
    """Mean over predictions of ``cost`` of the target's score and those of the drawn; 0 where there is nothing to predict.

    A score is ``states · table + bias``. A negative that is the target itself does not count.
    """
    target_N, drawn, table_VD, bias_V = held.target_N, held.drawn, held.table_UD, held.bias_U
    num_predictions = states_ND.shape[0]
    if num_predictions == 0:
        return (states_ND.sum() + 0.0 * table_VD.sum()) * 0.0
    shared_CD = F.embedding(drawn.shared_C, table_VD)
    every_NM = torch.cat([target_N[:, None], drawn.own_NM], 1)
    own_NM = _with_bias(gathered_scores(states_ND, table_VD, every_NM), bias_V, every_NM)

    def summed(states_ND: Tensor, target_N: Tensor, rows_NM: Tensor, own_NM: Tensor, shared_CD: Tensor) -> Tensor:
        # As exact as the target's score, whatever autocast says: an item scores the same on both sides.
        with torch.autocast(states_ND.device.type, enabled=False):
            scores_NC = states_ND.to(own_NM.dtype) @ shared_CD.T.to(own_NM.dtype)
        shared_NC = _with_bias(scores_NC, bias_V, drawn.shared_C)
        negative_NC = torch.cat([shared_NC, own_NM[:, 1:]], 1)
        rows_NC = torch.cat([drawn.shared_C.expand(shared_NC.shape), rows_NM[:, 1:]], 1)
        return cost(own_NM[:, 0], negative_NC, rows_NC != target_N[:, None]).sum()

    step = max(1, _TOGETHER // (drawn.shared_C.shape[0] + every_NM.shape[1]))
    if num_predictions <= step:
        return summed(states_ND, target_N, every_NM, own_NM, shared_CD) / num_predictions
    total = own_NM.new_zeros(())
    for start in range(0, num_predictions, step):
        part = slice(start, start + step)
        pieces = (states_ND[part], target_N[part], every_NM[part], own_NM[part], shared_CD)
        total = total + checkpoint(summed, *pieces, use_reentrant=False)
    return total / num_predictions


def _log_sum(alpha: float, log_share_V: Tensor) -> float | Tensor:
    """Log of the sum of the shares to the power of ``alpha``."""
    return math.log(log_share_V.shape[0]) if alpha == 0 else (alpha * log_share_V.double()).logsumexp(0)


def _with_bias(scores: Tensor, bias_V: Tensor | None, rows: Tensor) -> Tensor:
    return scores if bias_V is None else scores + F.embedding(rows, bias_V[:, None]).squeeze(-1)
