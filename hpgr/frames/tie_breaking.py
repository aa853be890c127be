"""Sums of links as scores in which popularity decides between equals, and never between unequal sums."""

from __future__ import annotations

import torch
from torch import Tensor

_ULPS = 16


def by_popularity(user_N: Tensor, sum_N: Tensor, share_N: Tensor, floor_N: Tensor) -> Tensor:
    """``[N]`` float32 scores in the order of ``(sum, share)`` among the entries of a user, all above the user's floor.

    ``sum_N``: at least 0; sums that agree to one part in a million are equal. A score is its sum to within rounding, plus
    one unit in the last place for each tie below it that needs the room; equal sums with equal shares stay equal.
    """
    bits_N = _bits(sum_N.float())
    bits_N = (bits_N + _ULPS // 2) // _ULPS * _ULPS
    rank_N = share_N.unique(return_inverse=True)[1]
    num_ranks = int(rank_N.max()) + 1 if len(rank_N) else 1
    key_N, order_N = ((user_N << 31 | bits_N) * num_ranks + rank_N).sort()
    level_N = torch.zeros_like(key_N)
    level_N[1:] = (key_N.diff() > 0).cumsum(0)
    # Positive floats are ordered as their bits are; each level takes the first bits that are free at or above its own.
    user_N = user_N[order_N] << 32
    above_N = torch.maximum(bits_N, _bits(floor_N) + 1)[order_N] + user_N - level_N
    score_N = torch.empty_like(floor_N)
    score_N[order_N] = (above_N.cummax(0).values + level_N - user_N).int().view(torch.float32)
    return score_N


def _bits(value_N: Tensor) -> Tensor:
    return value_N.view(torch.int32).long()
