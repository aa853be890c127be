"""Exact ranks of targets among the whole catalogue, in bounded memory; ties are counted, never broken.

A target with ``better`` items above it and ``tied`` items beside it stands, under random tie-breaking, at one of the
ranks ``better + 1 … better + tied + 1`` with equal probability. Every metric takes its expectation over that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hpgr.core.errors import DataError
from hpgr.core.jagged import Jagged, offsets_of
from hpgr.retrieval.exact import true_counts, users_at_once

NEVER = 1 << 40
"""``better`` of a target that no list can hold: outside the catalogue, or excluded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RankCounts:
    """Where ``N`` targets of ``Q`` queries stand; int64 arrays.

    ``rows [N]`` the targets' item rows; ``offsets [Q+1]`` which targets belong to which query.
    ``better [N]`` eligible items with a higher score, ``NEVER`` for a target that is a miss at every depth.
    ``tied [N]`` other eligible items with the same score. ``eligible [N]`` items that the query could be given.
    """

    rows: np.ndarray
    offsets: np.ndarray
    better: np.ndarray
    tied: np.ndarray
    eligible: np.ndarray

    @property
    def num_queries(self) -> int:
        return len(self.offsets) - 1

    @property
    def missed(self) -> np.ndarray:
        """``[N]`` bool: targets outside the catalogue or excluded; each counts as a miss."""
        return self.better >= NEVER

    def query_of_target(self) -> np.ndarray:
        """``[N]`` int64."""
        return np.repeat(np.arange(self.num_queries), np.diff(self.offsets))

    def keep(self, mask: np.ndarray) -> tuple[RankCounts, np.ndarray]:
        """The targets where ``mask [N]`` holds, and the queries ``[Q']`` that still have one; ranks stay."""
        per_query = np.bincount(self.query_of_target()[mask], minlength=self.num_queries)
        queries = np.flatnonzero(per_query)
        offsets = np.concatenate([[0], per_query[queries].cumsum()]).astype(np.int64)
        kept = {name: getattr(self, name)[mask] for name in ("rows", "better", "tied", "eligible")}
        return RankCounts(offsets=offsets, **kept), queries

    @classmethod
    def concat(cls, parts: Sequence[RankCounts]) -> RankCounts:
        """The queries of several batches, one after another."""
        lengths = np.concatenate([np.diff(part.offsets) for part in parts] or [np.zeros(0, np.int64)])
        joined = {
            name: np.concatenate([getattr(part, name) for part in parts] or [np.zeros(0, np.int64)])
            for name in ("rows", "better", "tied", "eligible")
        }
        return cls(offsets=np.concatenate([[0], lengths.cumsum()]).astype(np.int64), **joined)


def rank_counts(
    scores_BV: Tensor, targets: Tensor | Jagged, *, excluded: Jagged | None = None, memory_mb: float = 256.0
) -> RankCounts:
    """Counts for each target of each of ``B`` queries among ``V`` items.

    ``targets``: one row a query ``[B]``, or ``Jagged`` for several. A row outside ``0 … V-1`` and an excluded row are
    misses; a row named twice for one query counts once. ``excluded``: rows a query may not be given, such as seen
    items.
    ``memory_mb`` bounds what is allocated beside the scores.

    Raises: DataError for a NaN score and for a query without a target.
    """
    return rank_counts_by_blocks(
        lambda start, stop: scores_BV[:, start:stop],
        scores_BV.shape[1],
        targets,
        excluded=excluded,
        memory_mb=memory_mb,
    )


def rank_counts_by_blocks(
    score_block: Callable[[int, int], Tensor],
    num_items: int,
    targets: Tensor | Jagged,
    *,
    excluded: Jagged | None = None,
    memory_mb: float = 256.0,
) -> RankCounts:
    """The same from scores that never stand in memory together.

    ``score_block(start, stop)`` gives ``[B, stop - start]`` scores of items ``start … stop - 1``. It is called twice
    for each block: first for the targets' own scores, then to count against them.

    Raises: DataError as ``rank_counts`` does, and for a block of another shape.
    """
    wanted = _distinct(targets, num_items)
    forbidden = _pairs(excluded, wanted.num_rows, num_items)
    rows, query = wanted.values, wanted.row_of()
    reachable = (rows >= 0) & (rows < num_items)
    reachable &= ~torch.isin(query * num_items + rows, forbidden)
    eligible_B = num_items - torch.bincount(forbidden // max(num_items, 1), minlength=wanted.num_rows)
    block_items = max(1, int(memory_mb * 2**20 / 32) // max(wanted.num_rows, 1))

    def blocks(only: Tensor | None) -> list[tuple[int, int]]:
        starts = range(0, num_items, block_items)
        needed = set(starts) if only is None else set((only // block_items * block_items).unique().tolist())
        return [(start, min(start + block_items, num_items)) for start in starts if start in needed]

    own = torch.zeros(len(rows), dtype=torch.float64)
    for start, stop in blocks(rows[reachable]):
        block = _checked(score_block(start, stop), wanted.num_rows, stop - start)
        here = (reachable & (rows >= start) & (rows < stop)).nonzero().squeeze(1)
        own[here] = block[query[here].to(block.device), (rows[here] - start).to(block.device)].cpu().double()

    better, tied = torch.zeros_like(rows), torch.zeros_like(rows)
    asked = reachable.nonzero().squeeze(1)
    for start, stop in blocks(None):
        block = _numbers(_checked(score_block(start, stop), wanted.num_rows, stop - start))
        banned = forbidden[(forbidden % max(num_items, 1) >= start) & (forbidden % max(num_items, 1) < stop)]
        banned_2F = torch.stack([banned // max(num_items, 1), banned % max(num_items, 1) - start])
        above, beside = _count(block, own[asked], query[asked], rows[asked] - start, banned_2F)
        better[asked] += above
        tied[asked] += beside
    better[~reachable] = NEVER
    return RankCounts(
        rows=rows.numpy(),
        offsets=wanted.offsets.numpy(),
        better=better.numpy(),
        tied=tied.numpy(),
        eligible=eligible_B[query].numpy(),
    )


def _count(block: Tensor, own_N: Tensor, query_N: Tensor, column_N: Tensor, banned_2F: Tensor) -> tuple[Tensor, Tensor]:
    """How many of a block's scores are above and beside each target's own; ``query_N`` and the banned queries ascend."""
    above, beside = torch.zeros_like(query_N), torch.zeros_like(query_N)
    step = users_at_once(block)
    borders = torch.arange(0, block.shape[0] + step, step)
    cuts_N = torch.searchsorted(query_N, borders).tolist()
    cuts_F = torch.searchsorted(banned_2F[0].contiguous(), borders).tolist()
    for i, first in enumerate(borders[:-1].tolist()):
        some = block[first : first + step]
        if cuts_F[i + 1] > cuts_F[i]:
            some = some.clone()
            query_F, column_F = banned_2F[:, cuts_F[i] : cuts_F[i + 1]].to(block.device)
            some[query_F - first, column_F] = torch.nan
        for part in torch.arange(cuts_N[i], cuts_N[i + 1]).split(step):
            mine = some[(query_N[part] - first).to(block.device)]
            own = own_N[part].to(device=block.device, dtype=block.dtype)[:, None]
            above[part] = true_counts(mine > own).cpu()
            beside[part] = true_counts(mine == own).cpu()
    # No target stands beside itself.
    return above, beside - ((column_N >= 0) & (column_N < block.shape[1])).long()


def _checked(block: Tensor, num_queries: int, num_columns: int) -> Tensor:
    if tuple(block.shape) != (num_queries, num_columns):
        raise DataError(f"scores (shape {tuple(block.shape)}) must have the shape ({num_queries}, {num_columns})")
    return block if block.is_floating_point() else block.double()


def _numbers(block: Tensor) -> Tensor:
    # A largest score that is a number says at a fraction of the cost that all are.
    if block.numel() and bool(block.max().isnan()):
        raise DataError(
            f"scores (NaN in {int(block.isnan().any(1).sum())} of {len(block)} queries) must be numbers; "
            "look for a loss that became NaN in training"
        )
    return block


def _pairs(excluded: Jagged | None, num_queries: int, num_items: int) -> Tensor:
    """Distinct ``query * num_items + row`` of what is excluded, sorted."""
    if excluded is None:
        return torch.zeros(0, dtype=torch.int64)
    if excluded.num_rows != num_queries:
        raise DataError(f"excluded ({excluded.num_rows} rows) must have one row for each query ({num_queries})")
    rows, query = excluded.values.cpu().long(), excluded.row_of().cpu()
    inside = (rows >= 0) & (rows < num_items)
    return torch.unique(query[inside] * num_items + rows[inside])


def _distinct(targets: Tensor | Jagged, num_items: int) -> Jagged:
    """Targets on the CPU, each row once a query; rows outside the catalogue are different items and all stay."""
    if isinstance(targets, Tensor):
        targets = Jagged(targets.cpu().long(), torch.arange(len(targets) + 1))
    rows, query = targets.values.cpu().long(), targets.row_of().cpu()
    empty = int((targets.offsets.diff() == 0).sum())
    if empty:
        raise DataError(f"targets ({empty} of {targets.num_rows} queries have none) must not be empty; leave these out")
    order = torch.argsort(rows, stable=True)
    order = order[torch.argsort(query[order], stable=True)]
    inside = (rows >= 0) & (rows < num_items)
    first = torch.ones(len(rows), dtype=torch.bool)
    same = (rows[order][1:] == rows[order][:-1]) & (query[order][1:] == query[order][:-1]) & inside[order][1:]
    first[order[1:]] = ~same
    return Jagged(rows[first], offsets_of(torch.bincount(query[first], minlength=targets.num_rows)))
