"""The next item is to be nearer to the state than items drawn at random, by a margin. Bordes et al., NIPS 2013."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hpgr.core.errors import ConfigError
from hpgr.objectives import Targets
from hpgr.objectives.held import held_against
from hpgr.objectives.losses.margin import distances, margin_costs
from hpgr.objectives.negatives import other_items
from hpgr.objectives.scores import catalogue_logits


@dataclass(frozen=True, kw_only=True, slots=True)
class MarginRanking:
    """Mean over ``num_negatives`` other items a prediction, uniform, of ``max(0, margin + d(state, item) - d(state, negative))``.

    Needs items that score by distance: the order of scores is then that of the distances ``d``.
    """

    needs_distance: ClassVar[bool] = True

    margin: float = 1.0
    num_negatives: int = 8

    def __post_init__(self) -> None:
        if not self.margin > 0:
            raise ConfigError(f"margin ({self.margin}) must be greater than 0")
        if self.num_negatives < 1:
            raise ConfigError(f"num_negatives ({self.num_negatives}) must be at least 1")

    def logits(self, states_ND: Tensor, items: Targets) -> Tensor:
        return catalogue_logits(states_ND, items)

    def costs(self, states_ND: Tensor, target_N: Tensor, items: Targets, generator: torch.Generator) -> Tensor:
        """``[N]``: what each prediction costs."""
        held = held_against(items, target_N, other_items(self.num_negatives, target_N, items.num_items, generator))
        positive_N = distances(states_ND, held.table_UD[held.target_N])
        negative_NM = distances(states_ND[:, None], held.table_UD[held.drawn.own_NM])
        return margin_costs(positive_N[:, None], negative_NM, self.margin).mean(1)

    def loss(self, states_ND: Tensor, target_N: Tensor, items: Targets, generator: torch.Generator) -> Tensor:
        cost_N = self.costs(states_ND, target_N, items, generator)
        return cost_N.mean() if cost_N.shape[0] else cost_N.sum()
