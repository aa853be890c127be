"""Ranking losses of a positive ``r`` against negatives ``r_j``: means over pairs, and their max forms.

Source: Hidasi et al., ICLR 2016, arXiv:1511.06939 (TOP1); Rendle et al., UAI 2009, arXiv:1205.2618 (BPR); Hidasi &
Karatzoglou, CIKM 2018, arXiv:1706.03847 (max forms: ``s`` is a softmax over the negatives' scores, so that a hard negative
keeps its gradient however many easy ones there are).
Departs: everywhere a mean over the negatives that count; released GRU4Rec's BPR takes their sum, and its TOP1 has the
target's own column in the mean, a constant.

All take ``positive_N``, ``negative_NM`` and ``counts_NM`` (bool: False where a negative must not count) and give ``[N]``;
0 where no negative counts.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def bpr_costs(positive_N: Tensor, negative_NM: Tensor, counts_NM: Tensor) -> Tensor:
    """``-mean_j log σ(r - r_j)``."""
    return _mean(F.softplus(negative_NM - positive_N[:, None]), counts_NM)


def top1_costs(positive_N: Tensor, negative_NM: Tensor, counts_NM: Tensor) -> Tensor:
    """``mean_j [σ(r_j - r) + σ(r_j²)]``: the second part keeps the negatives near 0."""
    return _mean(_top1_pairs(positive_N, negative_NM), counts_NM)


def bpr_max_costs(
    positive_N: Tensor, negative_NM: Tensor, counts_NM: Tensor, *, penalty: float = 0.0, elu: float = 0.0
) -> Tensor:
    """``-log Σ_j s_j σ(r - r_j) + penalty · Σ_j s_j r_j²``; with ``elu`` > 0 every score passes ``ELU`` of that size first."""
    if elu > 0:
        positive_N, negative_NM = F.elu(positive_N, elu), F.elu(negative_NM, elu)
    log_share_NM = _log_shares(negative_NM, counts_NM)
    won_N = (log_share_NM + F.logsigmoid(positive_N[:, None] - negative_NM)).logsumexp(1)
    size_N = (log_share_NM.exp() * negative_NM.square()).sum(1)
    return _where_any(-won_N + penalty * size_N, counts_NM)


def top1_max_costs(positive_N: Tensor, negative_NM: Tensor, counts_NM: Tensor) -> Tensor:
    """``Σ_j s_j [σ(r_j - r) + σ(r_j²)]``."""
    cost_NM = _log_shares(negative_NM, counts_NM).exp() * _top1_pairs(positive_N, negative_NM)
    return _where_any(cost_NM.sum(1), counts_NM)


def negative_shares(negative_NM: Tensor, counts_NM: Tensor) -> Tensor:
    """``s`` ``[N, M]``: the softmax over the negatives that count, 0 for the others; rows sum to 1, or to 0 without any."""
    return _log_shares(negative_NM, counts_NM).exp() * counts_NM


def _log_shares(negative_NM: Tensor, counts_NM: Tensor) -> Tensor:
    # The least finite number, not -inf: a row without negatives must not become NaN.
    return negative_NM.masked_fill(~counts_NM, torch.finfo(negative_NM.dtype).min).log_softmax(1)


def _top1_pairs(positive_N: Tensor, negative_NM: Tensor) -> Tensor:
    return torch.sigmoid(negative_NM - positive_N[:, None]) + torch.sigmoid(negative_NM.square())


def _mean(cost_NM: Tensor, counts_NM: Tensor) -> Tensor:
    return (cost_NM * counts_NM).sum(1) / counts_NM.sum(1).clamp(min=1)


def _where_any(cost_N: Tensor, counts_NM: Tensor) -> Tensor:
    return cost_N * counts_NM.any(1)
