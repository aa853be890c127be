"""The definition of ``contextual_bias``, one pair at a time."""

from __future__ import annotations

import torch
from torch import Tensor


def contextual_bias_reference(place_QP: Tensor, scores_QJ: Tensor, visible_QJ: Tensor, sign: float) -> Tensor:
    """See ``contextual_bias``."""
    seen_rows = visible_QJ.expand_as(scores_QJ).flatten(0, -2).tolist()
    rows = zip(place_QP.flatten(0, -2), scores_QJ.flatten(0, -2), seen_rows)
    out = [
        _at(place_P, sum((gate for gate, one in zip(gates[j:], seen[j:]) if one), torch.zeros_like(gates[0])))
        for place_P, score_J, seen in rows
        for gates in [list((sign * score_J).sigmoid())]
        for j in range(len(gates))
    ]
    return torch.stack(out).view(scores_QJ.shape) if out else torch.zeros_like(scores_QJ)


def _at(place_P: Tensor, far: Tensor) -> Tensor:
    """The value at ``far``, between the places round it; the last one from there on."""
    last = place_P.shape[0] - 1
    low = min(int(far.detach().floor()), last)
    if low == last:
        return place_P[last]
    share = far - low
    return share * place_P[low + 1] + (1 - share) * place_P[low]
