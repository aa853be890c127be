"""The definition of ``hashed_positions``, one candidate at a time."""

from __future__ import annotations

import torch
from torch import Tensor


def hashed_positions_reference(
    query_CW: Tensor, key_TW: Tensor, user_offsets_B1: Tensor, candidate_offsets_B1: Tensor, k: int
) -> Tensor:
    """See ``hashed_positions``."""
    rows_CK = torch.full((query_CW.shape[0], k), -1, dtype=torch.int64)
    users = zip(user_offsets_B1[:-1].tolist(), user_offsets_B1[1:].tolist())
    asked = zip(candidate_offsets_B1[:-1].tolist(), candidate_offsets_B1[1:].tolist())
    for (start, stop), (first, last) in zip(users, asked):
        for c in range(first, last):
            far = [(_differing(query_CW[c].tolist(), key_TW[t].tolist()), -t) for t in range(start, stop)]
            best = [-t for _, t in sorted(far)[:k]]
            rows_CK[c, : len(best)] = torch.tensor(best, dtype=torch.int64)
    return rows_CK.to(query_CW.device)


def _differing(one: list[int], other: list[int]) -> int:
    # Python's negative numbers have endless sign bits; a word has 64.
    return sum(((a ^ b) & (2**64 - 1)).bit_count() for a, b in zip(one, other))
