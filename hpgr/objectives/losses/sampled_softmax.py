"""Cross-entropy of a positive against given negatives."""

from __future__ import annotations

import torch
from torch import Tensor


def sampled_softmax_costs(positive_N: Tensor, negative_NM: Tensor, counts_NM: Tensor) -> Tensor:
    """``[N]``: ``-log(exp(positive) / (exp(positive) + Σ_m exp(negative_m)))`` in nats; 0 where no negative counts.

    ``counts_NM`` bool: a negative that does not count stands at ``-inf``, so its weight and its gradient are exactly 0.
    With every other item as a negative it is the cross-entropy over the catalogue.
    """
    masked_NM = negative_NM.masked_fill(~counts_NM, -torch.inf)
    return torch.cat([positive_N[:, None], masked_NM], 1).logsumexp(1) - positive_N
