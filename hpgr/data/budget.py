"""Batches filled to a token budget, the same on one rank or many."""

from __future__ import annotations

import numpy as np

from hpgr.core.errors import DataError

_LENGTH_JITTER = 0.1


def fill_in_order(cost: np.ndarray, budget: int) -> list[np.ndarray]:
    """Rows ``0 … n-1`` in order, cut into batches whose ``cost [n]`` (tokens) adds up to at most ``budget``.

    A row that alone costs more is a batch of its own.
    """
    ends = np.cumsum(cost, dtype=np.int64)
    batches, first = [], 0
    while first < len(ends):
        done = int(ends[first - 1]) if first else 0
        end = max(int(np.searchsorted(ends, done + budget, side="right")), first + 1)
        batches.append(np.arange(first, end))
        first = end
    return batches


def fill_evenly(cost: np.ndarray, budget: int) -> list[np.ndarray]:
    """As ``fill_in_order``, with batches of nearly equal ``cost`` instead of full ones and a small last one.

    They differ by at most the dearest row, where a few more batches than the fewest possible allow it; a budget of
    little more than one row does not, and is filled in order.
    """
    filled = fill_in_order(cost, budget)
    for count in range(len(filled), len(filled) + len(filled) // 4 + 1):
        batches = _equal_parts(cost, count)
        if all(cost[rows].sum() <= budget for rows in batches):
            return batches
    return filled


def fill_by_length(
    cost: np.ndarray, budget: int, generator: np.random.Generator, shard: tuple[int, int] = (0, 1)
) -> list[np.ndarray]:
    """This rank's batches of rows of similar ``cost``, in random order; each row is in one batch of one rank.

    ``shard``: (rank, world). The batches of an epoch are dealt in turn, so that step after step all ranks together read
    the rows that one rank would, in the same order. Where their number is no multiple of ``world``, the last ones are cut
    anew into nearly equal parts, one for each rank: every rank gets equally many batches and nearly equal tokens.

    Raises: DataError if there are fewer rows than ranks.
    """
    rank, world = shard
    if len(cost) < world:
        raise DataError(f"training part ({len(cost)} rows) must have at least one for each of {world} ranks")
    order = np.argsort(cost * (1 + _LENGTH_JITTER * generator.random(len(cost))), kind="stable")
    batches = [order[rows] for rows in fill_evenly(cost[order], budget)]
    batches = [batches[i] for i in generator.permutation(len(batches))]
    return _dealt(batches, cost, world)[rank::world]


def _dealt(batches: list[np.ndarray], cost: np.ndarray, world: int) -> list[np.ndarray]:
    over = len(batches) % world
    if not over:
        return batches
    # Where the last batches hold fewer rows than there are ranks, those of a step before are cut with them; only there
    # may a batch come to more than the budget.
    while sum(map(len, batches[-over:])) < world:
        over += world
    last = np.concatenate(batches[-over:])
    return batches[:-over] + [last[rows] for rows in _equal_parts(cost[last], world)]


def _equal_parts(cost: np.ndarray, count: int) -> list[np.ndarray]:
    """Rows in order, in at most ``count`` parts (exactly as many where each can have a row) of nearly equal ``cost``."""
    middle = np.cumsum(cost) - cost / 2
    part = np.minimum((middle * count / max(float(cost.sum()), 1e-12)).astype(np.int64), count - 1)
    ahead = np.arange(1, count)
    # At least one row in each part: a border stands behind the one before it and leaves rows for those after it.
    spare = np.maximum.accumulate(np.maximum(np.searchsorted(part, ahead) - ahead, 0))
    borders = np.minimum(spare, len(cost) - count) + ahead
    return [rows for rows in np.split(np.arange(len(cost)), np.maximum(borders, 0)) if len(rows)]
