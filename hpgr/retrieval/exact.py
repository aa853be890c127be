"""Exact top-k, and what may not be recommended."""

from __future__ import annotations

import torch
from torch import Tensor

from hpgr.core.jagged import Jagged


def top_k(scores_BV: Tensor, k: int, *, excluded: Jagged | None = None) -> tuple[Tensor, Tensor]:
    """``(rows [B, k'], scores [B, k'])``, best first, ``k' = min(k, V)``; the lower row first among equals.

    ``excluded``: rows of items a user must not get; they come last with score ``-inf``. Rows outside ``0 … V-1`` are ignored.
    """
    scores_BV = without(scores_BV, excluded)
    values, rows = scores_BV.topk(min(k, scores_BV.shape[1]), dim=1)
    if not values.numel():
        return rows, values
    rows, order = rows.sort(dim=1)
    values = values.gather(1, order)
    values, order = values.sort(dim=1, descending=True, stable=True)
    rows = rows.gather(1, order)
    # Which of the items tied with the last place are in is not topk's to choose.
    for b in ((scores_BV >= values[:, -1:]).sum(1) > values.shape[1]).nonzero().squeeze(1).tolist():
        rows[b] = scores_BV[b].sort(descending=True, stable=True).indices[: values.shape[1]]
    return rows, values


def without(scores_BV: Tensor, excluded: Jagged | None) -> Tensor:
    """The scores with ``-inf`` at each user's excluded rows."""
    if excluded is None:
        return scores_BV
    rows, users = excluded.values, excluded.row_of()
    inside = (rows >= 0) & (rows < scores_BV.shape[1])
    scores_BV = scores_BV.clone()
    scores_BV[users[inside], rows[inside]] = -torch.inf
    return scores_BV
