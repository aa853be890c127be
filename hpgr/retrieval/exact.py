"""Exact top-k, and what may not be recommended."""

from __future__ import annotations

from functools import reduce

import numpy as np
import torch
from torch import Tensor

from hpgr.core.jagged import Jagged, offsets_of, position_in_row

_SCORES_IN_CACHE = 1 << 18
# Scores in a block of an exact search, and items in it at least.
_BLOCK, _LEAST = 1 << 20, 1 << 12
# Vectors of all users that one reading of the catalogue takes together.
_FEW = 16


def top_k(scores_BV: Tensor, k: int, *, excluded: Jagged | None = None) -> tuple[Tensor, Tensor]:
    """``(rows [B, k'], scores [B, k'])``, best first, ``k' = min(k, V)``; the lower row first among equals.

    ``excluded``: rows of items a user must not get; they come last with score ``-inf``. Rows outside ``0 … V-1`` are ignored.
    """
    num_users, num_items = scores_BV.shape
    if excluded is not None:
        user_N, row_N = _inside(excluded, num_items)
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


def best_scores(query: Tensor, vectors_WD: Tensor) -> Tensor:
    """``[B, W]``: products with queries ``[B, D]``; of several vectors a user, ``[B, Q, D]``, the largest.

    The catalogue's vectors are read once for all of a user's; what reads them costs more than the products for few users.
    """
    if query.dim() == 2:
        return query @ vectors_WD.T
    num_users, num_vectors = query.shape[:2]
    if num_users * num_vectors <= _FEW:
        every = (vectors_WD @ query.flatten(0, 1).T).unflatten(1, (num_users, num_vectors))
        return reduce(torch.maximum, every.unbind(2)).T
    best_BW = query[:, 0] @ vectors_WD.T
    for one_BD in query.unbind(1)[1:]:
        torch.maximum(best_BW, one_BD @ vectors_WD.T, out=best_BW)
    return best_BW


def best_products(query: Tensor, rows_CD: Tensor) -> Tensor:
    """``[C]``: the product of each row with its query ``[C, D]``, or the largest with any of its queries ``[C, Q, D]``."""
    if query.dim() == 2:
        return (query * rows_CD).sum(-1)
    return torch.einsum("cqd,cd->cq", query, rows_CD).amax(1)


def best_vector(query_CQD: Tensor, rows_CD: Tensor) -> Tensor:
    """``[C]`` int64: which of the queries has the largest product with the row; the first among equals."""
    return torch.einsum("cqd,cd->cq", query_CQD, rows_CD).argmax(1)


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


class ExactIndex:
    """Holds every query against every item, block by block: memory does not grow with the catalogue.

    ``table_VD`` and ``bias_V`` are not copied.
    """

    recall = 1.0

    def __init__(self, table_VD: Tensor, bias_V: Tensor | None = None) -> None:
        self._table_VD, self._bias_V = table_VD.detach(), None if bias_V is None else bias_V.detach()

    @torch.no_grad()
    def search(self, query: Tensor, k: int, *, excluded: Jagged | None = None) -> tuple[Tensor, Tensor]:
        """As ``Index.search``: what ``top_k`` gives for the whole scores, excluded rows with ``-inf`` at the end."""
        num_users, num_items = query.shape[0], self._table_VD.shape[0]
        k = min(k, num_items)
        scores_BK = query.new_zeros((num_users, 0))
        rows_BK = torch.zeros_like(scores_BK, dtype=torch.int64)
        if not num_users or not k:
            return rows_BK.new_zeros((num_users, k)), scores_BK.new_zeros((num_users, k))
        user_N = row_N = rows_BK.new_zeros(0)
        if excluded is not None:
            user_N, row_N = _inside(excluded, num_items)
            row_N, order = row_N.sort()
            user_N = user_N[order]
        width = max(_LEAST, _BLOCK // num_users)
        for start in range(0, num_items, width):
            block_BW = self._scores(query, start, start + width)
            first, last = torch.searchsorted(row_N, row_N.new_tensor([start, start + width])).tolist()
            block_BW[user_N[first:last], row_N[first:last] - start] = -torch.inf
            if rows_BK.shape[1] < k:
                rows, scores = _top_k(block_BW, min(k, block_BW.shape[1]))
            else:
                rows, scores = _above(block_BW, scores_BK[:, -1:])
            if rows.shape[1]:
                # Earlier rows stand first, and the sort is stable: they win against equals.
                scores_BK, order = torch.cat([scores_BK, scores], 1).sort(dim=1, descending=True, stable=True)
                rows_BK = torch.cat([rows_BK, rows + start], 1).gather(1, order[:, :k])
                scores_BK = scores_BK[:, :k]
        return rows_BK, scores_BK

    def _scores(self, query: Tensor, start: int, stop: int) -> Tensor:
        scores = best_scores(query, self._table_VD[start:stop])
        return scores if self._bias_V is None else scores.add_(self._bias_V[start:stop])


def _above(block_BW: Tensor, least_B1: Tensor) -> tuple[Tensor, Tensor]:
    """``(columns [B, X], scores [B, X])`` of what is greater than ``least``, in order of columns; ``-inf`` where there are fewer.

    After some blocks that is little, where the best of a whole block would cost as much in the last as in the first.
    """
    user_N, column_N = (block_BW > least_B1).nonzero(as_tuple=True)
    offsets = offsets_of(torch.bincount(user_N, minlength=block_BW.shape[0]))
    place_N = position_in_row(offsets, len(user_N))
    most = int(offsets.diff().max())
    scores = block_BW.new_full((block_BW.shape[0], most), -torch.inf)
    columns = torch.zeros_like(scores, dtype=torch.int64)
    scores[user_N, place_N], columns[user_N, place_N] = block_BW[user_N, column_N], column_N
    return columns, scores


def _inside(excluded: Jagged, num_items: int) -> tuple[Tensor, Tensor]:
    """Users and rows of what is excluded, without rows outside the catalogue."""
    user_N, row_N = excluded.row_of(), excluded.values
    inside_N = (row_N >= 0) & (row_N < num_items)
    return user_N[inside_N], row_N[inside_N]


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
