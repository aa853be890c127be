"""The definition of ``nearest_positions``, one candidate at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from hpgr.ops.nearest_positions.grid import LENGTH


def nearest_positions_reference(
    query_CD: Tensor, key_TD: Tensor, user_offsets_B1: Tensor, candidate_offsets_B1: Tensor, k: int, cosine: bool
) -> Tensor:
    """See ``nearest_positions``."""
    rows_CK = torch.full((query_CD.shape[0], k), -1, dtype=torch.int64)
    users = zip(user_offsets_B1[:-1].tolist(), user_offsets_B1[1:].tolist())
    asked = zip(candidate_offsets_B1[:-1].tolist(), candidate_offsets_B1[1:].tolist())
    for (start, stop), (first, last) in zip(users, asked):
        for c in range(first, last):
            scored = [(_score(query_CD[c], key_TD[t], cosine), t) for t in range(start, stop)]
            best = [t for _, t in sorted(scored, reverse=True)[:k]]
            rows_CK[c, : len(best)] = torch.tensor(best, dtype=torch.int64)
    return rows_CK.to(query_CD.device)


def _score(query_D: Tensor, key_D: Tensor, cosine: bool) -> float:
    q, k = query_D.double(), key_D.double()
    if cosine:
        q, k = ((x * (LENGTH / x.norm().clamp(min=1e-12))).round() for x in (q, k))
    return (q * k).sum().float().item()
