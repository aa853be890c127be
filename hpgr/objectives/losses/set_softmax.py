"""Cross-entropy of each right answer of a set against what is not in the set. Huang et al., 2025, arXiv:2502.10157 (SessionRec)."""

from __future__ import annotations

import torch
from torch import Tensor


def set_softmax_costs(positive_N: Tensor, set_N: Tensor, others_S: Tensor) -> Tensor:
    """``[N]``: ``-log(exp(positive_n) / (exp(positive_n) + exp(others_s)))`` in nats, ``s = set_N[n]``.

    ``others_S``: ``log_sums`` of the negatives of each set, in which right answers of the set do not count: none lowers
    another. Of a set of one it is the cross-entropy over that answer and the negatives.
    """
    return torch.logaddexp(positive_N, others_S[set_N]) - positive_N


def log_sums(negative_SC: Tensor, counts_SC: Tensor) -> Tensor:
    """``[S]``: ``log Σ exp(negative)`` over those that count; the least finite number, without gradient, where none does."""
    # Not -inf: a row without negatives must not become NaN.
    return negative_SC.masked_fill(~counts_SC, torch.finfo(negative_SC.dtype).min).logsumexp(1)
