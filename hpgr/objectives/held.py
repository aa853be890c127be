"""Predictions and what they are held against: the whole catalogue, or only the rows that a batch needs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hpgr.objectives import Targets


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """``shared_C``: rows every prediction is held against; ``own_NM``: rows for each prediction alone. One may be empty."""

    shared_C: Tensor
    own_NM: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """Targets, what was drawn, and the vectors and biases that both are rows of.

    ``rows_U``: the catalogue rows of those vectors; None where they are the whole catalogue.
    """

    target_N: Tensor
    drawn: Drawn
    table_UD: Tensor
    bias_U: Tensor | None
    rows_U: Tensor | None = None


def held_against(items: Targets, target_N: Tensor, drawn: Drawn) -> Held:
    """The whole catalogue's vectors; of sparse items only those that are needed, with targets and drawn items as their rows."""
    if not items.sparse:
        return Held(target_N=target_N, drawn=drawn, table_UD=items.table(), bias_U=items.bias())
    every = torch.cat([target_N, drawn.shared_C, drawn.own_NM.flatten()])
    rows_U, place = every.unique(return_inverse=True)
    vectors_UD, bias_U = items.rows(rows_U)
    target, shared, own = place.split([target_N.shape[0], drawn.shared_C.shape[0], drawn.own_NM.numel()])
    few = Drawn(shared_C=shared, own_NM=own.view(drawn.own_NM.shape))
    return Held(target_N=target, drawn=few, table_UD=vectors_UD, bias_U=bias_U, rows_U=rows_U)
