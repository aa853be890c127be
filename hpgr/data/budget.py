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


def fill_by_length(
    cost: np.ndarray, budget: int, generator: np.random.Generator, shard: tuple[int, int] = (0, 1)
) -> list[np.ndarray]:
    """This rank's batches of rows of similar ``cost``, in random order; each row is in one batch of one rank.

    ``shard``: (rank, world). Every rank gets equally many batches; where their number is no multiple of ``world``,
    the fullest ones are halved.

    Raises: DataError if there are fewer rows than ranks.
    """
    rank, world = shard
    if len(cost) < world:
        raise DataError(f"training part ({len(cost)} rows) must have at least one for each of {world} ranks")
    order = np.argsort(cost * (1 + _LENGTH_JITTER * generator.random(len(cost))), kind="stable")
    batches = [order[rows] for rows in fill_in_order(cost[order], budget)]
    while len(batches) % world:
        fullest = max(range(len(batches)), key=lambda i: len(batches[i]))
        rows = batches.pop(fullest)
        batches += [rows[: len(rows) // 2], rows[len(rows) // 2 :]]
    return [batches[i] for i in generator.permutation(len(batches))[rank::world]]
