"""Exact top-k, and what may not be recommended."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hpgr.core.jagged import Jagged

_SCORES_IN_CACHE = 1 << 18


def top_k(scores_BV: Tensor, k: int, *, excluded: Jagged | None = None) -> tuple[Tensor, Tensor]:
    """``(rows [B, k'], scores [B, k'])``, best first, ``k' = min(k, V)``; the lower row first among equals.

    ``excluded``: rows of items a user must not get; they come last with score ``-inf``. Rows outside ``0 … V-1`` are ignored.
    """
    num_users, num_items = scores_BV.shape
    if excluded is not None:
        user_N, row_N = excluded.row_of(), excluded.values
        inside_N = (row_N >= 0) & (row_N < num_items)
        user_N, row_N = user_N[inside_N], row_N[inside_N]
    found = []
    step = users_at_once(scores_BV)
    for start in range(0, max(num_users, 1), step):
        some_BV = scores_BV[start : start + step]
        if excluded is not None:
            first, last = torch.searchsorted(user_N, user_N.new_tensor([start, start + len(some_BV)])).tolist()
            some_BV = some_BV.clone()
            some_BV[user_N[first:last] - start, row_N[first:last]] = -torch.inf
        found.append(_top_k(some_BV, min(k, num_items)))
    rows, scores = (torch.cat(column) for column in zip(*found))
    return rows, scores


def users_at_once(scores_BV: Tensor) -> int:
    """How many rows of scores the processor's cache holds, at least 1; all of them where there is an accelerator."""
    if scores_BV.device.type != "cpu":
        return max(1, scores_BV.shape[0])
    return max(1, _SCORES_IN_CACHE // max(1, scores_BV.shape[1]))


def true_counts(mask_BV: Tensor) -> Tensor:
    """``[B]`` int64: how many entries of each row are True."""
    if mask_BV.device.type != "cpu":
        return mask_BV.sum(1)
    # Counting the bytes of a row is fifty times as fast as adding them up as int64.
    return torch.tensor([np.count_nonzero(row) for row in mask_BV.numpy()], dtype=torch.int64)


def _top_k(scores_BV: Tensor, k: int) -> tuple[Tensor, Tensor]:
    values, rows = scores_BV.topk(k, dim=1)
    if not values.numel():
        return rows, values
    rows, order = rows.sort(dim=1)
    values = values.gather(1, order)
    values, order = values.sort(dim=1, descending=True, stable=True)
    rows = rows.gather(1, order)
    last_B1 = values[:, -1:]
    # Which of the items tied with the last place are in is not topk's to choose.
    for b in (true_counts(scores_BV >= last_B1) > k).nonzero().squeeze(1).tolist():
        tied_K = values[b] == last_B1[b]
        rows[b, tied_K] = (scores_BV[b] == last_B1[b]).nonzero().squeeze(1)[: int(tied_K.sum())]
    return rows, values
