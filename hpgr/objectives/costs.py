"""How a state is held against the catalogue: the cost slot of the item objectives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from hpgr.core.errors import ConfigError
from hpgr.objectives import Targets
from hpgr.objectives.gathered import gathered_scores
from hpgr.objectives.held import Drawn, held_against
from hpgr.objectives.losses.binary import sampled_binary_loss
from hpgr.objectives.losses.softmax import softmax_loss
from hpgr.objectives.scores import catalogue_logits, check_temperature, sides


class ItemCost(Protocol):
    """Scores states against the catalogue, and says what a wrong score costs."""

    def logits(self, states_ND: Tensor, items: Targets) -> Tensor:
        """``[N, V]``."""
        ...

    def loss(self, states_ND: Tensor, target_N: Tensor, items: Targets, generator: torch.Generator) -> Tensor:
        """Mean over the predictions."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class FullSoftmax:
    """Cross-entropy over the whole catalogue, in chunks of ``chunk`` predictions.

    ``temperature``: None for dot products; otherwise both sides are normalised and their cosine divided by it.
    """

    temperature: float | None = None
    chunk: int = 128

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        if self.chunk < 1:
            raise ConfigError(f"chunk ({self.chunk}) must be at least 1")

    def logits(self, states_ND: Tensor, items: Targets) -> Tensor:
        return catalogue_logits(states_ND, items, self.temperature)

    def loss(self, states_ND: Tensor, target_N: Tensor, items: Targets, generator: torch.Generator) -> Tensor:
        states_ND, table_VD = sides(states_ND, items.table(), self.temperature)
        return softmax_loss(states_ND, target_N, table_VD, bias_V=items.bias(), chunk=self.chunk)


@dataclass(frozen=True, kw_only=True, slots=True)
class SampledBinary:
    """Binary cross-entropy against ``num_negatives`` items a prediction, drawn uniformly from the catalogue.

    Departs: a negative may be an item of the user's own past (the released SASRec draws again); with a catalogue of
    thousands this is rare, and the draw does not depend on the user.
    """

    num_negatives: int = 1

    def __post_init__(self) -> None:
        if self.num_negatives < 1:
            raise ConfigError(f"num_negatives ({self.num_negatives}) must be at least 1")

    def logits(self, states_ND: Tensor, items: Targets) -> Tensor:
        return catalogue_logits(states_ND, items)

    def loss(self, states_ND: Tensor, target_N: Tensor, items: Targets, generator: torch.Generator) -> Tensor:
        size = (target_N.shape[0], self.num_negatives)
        drawn_NM = torch.randint(items.num_items, size, generator=generator).to(target_N.device)
        held = held_against(items, target_N, Drawn(shared_C=target_N[:0], own_NM=drawn_NM))
        target_N, drawn_NM = held.target_N, held.drawn.own_NM
        positive_N = (states_ND * held.table_UD[target_N]).sum(-1)
        negative_NM = gathered_scores(states_ND, held.table_UD, drawn_NM)
        if held.bias_U is not None:
            positive_N, negative_NM = positive_N + held.bias_U[target_N], negative_NM + held.bias_U[drawn_NM]
        return sampled_binary_loss(positive_N, negative_NM, drawn_NM != target_N[:, None])
