"""A state has several right answers, each held against what is not one. Huang et al., 2025, arXiv:2502.10157 (SessionRec)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from hpgr.core.errors import ConfigError
from hpgr.objectives import Targets
from hpgr.objectives.costs import ItemCost
from hpgr.objectives.gathered import gathered_scores
from hpgr.objectives.held import Drawn, Held, held_against
from hpgr.objectives.losses.set_softmax import log_sums, set_softmax_costs
from hpgr.objectives.negatives import Sampling
from hpgr.objectives.scores import catalogue_logits, check_temperature, sides

# Scores of negatives that stand in memory together; more are computed again for the gradient.
_TOGETHER = 2**24


class SetCost(ItemCost, Protocol):
    """An item cost that also knows states with several right answers."""

    def set_costs(
        self, states_SD: Tensor, set_N: Tensor, target_N: Tensor, items: Targets, generator: torch.Generator
    ) -> Tensor:
        """``[N]``: what each right answer costs; answer ``n`` is one of the state ``set_N[n]``."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class SetSoftmax:
    """Cross-entropy of each right answer over itself and the negatives that are no right answer of its state.

    ``num_negatives``: uniform, one sample for the batch; None: the whole catalogue. ``in_batch``: right answers of the batch's
    other states are negatives besides. ``temperature`` as in ``FullSoftmax``.
    """

    num_negatives: int | None = None
    in_batch: bool = False
    temperature: float | None = None

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        if self.num_negatives is not None:
            Sampling(num_negatives=self.num_negatives, in_batch=self.in_batch)
        elif self.in_batch:
            raise ConfigError("in_batch (True) must be False where num_negatives is None: all items are negatives then")

    def logits(self, states_ND: Tensor, items: Targets) -> Tensor:
        return catalogue_logits(states_ND, items, self.temperature)

    def loss(self, states_ND: Tensor, target_N: Tensor, items: Targets, generator: torch.Generator) -> Tensor:
        """Of one right answer a state."""
        each_N = torch.arange(target_N.shape[0], device=target_N.device)
        return self.set_costs(states_ND, each_N, target_N, items, generator).sum() / max(1, target_N.shape[0])

    def set_costs(
        self, states_SD: Tensor, set_N: Tensor, target_N: Tensor, items: Targets, generator: torch.Generator
    ) -> Tensor:
        held = self._held(target_N, items, generator)
        states_SD, table_UD = sides(states_SD, held.table_UD, self.temperature)
        positive_N = gathered_scores(states_SD[set_N], table_UD, held.target_N[:, None])[:, 0]
        if held.bias_U is not None:
            positive_N = positive_N + held.bias_U[held.target_N]
        shared_CD = table_UD[held.drawn.shared_C]
        step = max(1, _TOGETHER // max(1, shared_CD.shape[0], table_UD.shape[0]))
        parts = []
        for start in range(0, states_SD.shape[0], step):
            inside_N = (set_N >= start) & (set_N < start + step)
            own = set_N[inside_N] - start, held.target_N[inside_N]
            pieces = (states_SD[start : start + step].to(positive_N.dtype), own, held, shared_CD.to(positive_N.dtype))
            whole = states_SD.shape[0] <= step
            parts.append(_others(*pieces) if whole else checkpoint(_others, *pieces, use_reentrant=False))
        others_S = torch.cat(parts) if parts else positive_N.new_zeros(0)
        return set_softmax_costs(positive_N, set_N, others_S)

    def _held(self, target_N: Tensor, items: Targets, generator: torch.Generator) -> Held:
        none_N0 = target_N.new_zeros((target_N.shape[0], 0))
        if self.num_negatives is None:
            every_C = torch.arange(items.num_items, device=target_N.device)
            return held_against(items, target_N, Drawn(shared_C=every_C, own_NM=none_N0))
        sampling = Sampling(num_negatives=self.num_negatives, in_batch=self.in_batch)
        return held_against(items, target_N, sampling.draw(target_N, items, generator))


def _others(states_sD: Tensor, own: tuple[Tensor, Tensor], held: Held, shared_CD: Tensor) -> Tensor:
    """``[s]``: log-sums of the negatives' scores; ``own``: pairs of a state and a right answer of it."""
    # As exact as the right answers' scores, whatever autocast says: an item scores the same on both sides.
    with torch.autocast(states_sD.device.type, enabled=False):
        scores_sC = states_sD @ shared_CD.T
    if held.bias_U is not None:
        scores_sC = scores_sC + held.bias_U[held.drawn.shared_C]
    is_own_sU = torch.zeros(
        (states_sD.shape[0], held.table_UD.shape[0]), dtype=torch.bool, device=states_sD.device
    ).index_put_(own, torch.ones((), dtype=torch.bool, device=states_sD.device))
    return log_sums(scores_sC, ~is_own_sU[:, held.drawn.shared_C])
