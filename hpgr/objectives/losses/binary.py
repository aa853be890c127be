"""Binary cross-entropy of a positive against sampled negatives."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def sampled_binary_loss(positive_N: Tensor, negative_NM: Tensor, counts_NM: Tensor) -> Tensor:
    """Mean over predictions of ``-log σ(positive) - Σ_m log(1 - σ(negative_m)) / M``; 0 where there is none.

    ``counts_NM`` bool: False where a drawn negative is the positive itself and must not count.
    Source: Kang & McAuley, ICDM 2018, eq. 6, with M = 1.
    """
    if positive_N.numel() == 0:
        return positive_N.sum() * 0.0
    cost = F.softplus(-positive_N) + (F.softplus(negative_NM) * counts_NM).mean(1)
    return cost.mean()


def generalised_binary_costs(positive_N: Tensor, negative_NM: Tensor, counts_NM: Tensor, *, beta: float) -> Tensor:
    """``[N]``: ``-(β log σ(positive) + Σ_m log(1 - σ(negative_m))) / (M + 1)``, in nats; β = 1 is plain binary cross-entropy.

    Source: Petrov & Macdonald, RecSys 2023, arXiv:2308.07192, eq. 9.
    """
    cost_N = beta * F.softplus(-positive_N) + (F.softplus(negative_NM) * counts_NM).sum(1)
    return cost_N / (negative_NM.shape[1] + 1)


def binary_loss(logits_CK: Tensor, label_CK: Tensor, weight_C: Tensor) -> Tensor:
    """Weighted mean over candidates of the tasks' summed binary cross-entropy, in nats; 0 where every weight is 0."""
    cost_C = F.binary_cross_entropy_with_logits(logits_CK, label_CK, reduction="none").sum(1)
    return (cost_C * weight_C).sum() / weight_C.sum().clamp(min=torch.finfo(cost_C.dtype).tiny)
