"""Ranges of a store's events, and searches inside many of them at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_CHUNK_EVENTS = 4_000_000


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Ranges:
    """``n`` pieces of users' histories: events ``start[i] … stop[i]-1`` of the store, all of user ``user_idx[i]``.

    All three are ``[n]`` int64.
    """

    user_idx: np.ndarray
    start: np.ndarray
    stop: np.ndarray

    def __len__(self) -> int:
        return len(self.user_idx)

    @property
    def lengths(self) -> np.ndarray:
        """``[n]`` int64 events in each range."""
        return self.stop - self.start

    @property
    def num_events(self) -> int:
        return int(self.lengths.sum())


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Queries:
    """``Q`` questions with known answers: what does ``user_idx`` do at ``now_ms``, after the events ``start … stop-1``?

    ``user_idx``, ``start``, ``stop``, ``now_ms`` ``[Q]`` int64. The answers to question ``q`` are the store's item rows
    ``target_idx[target_offsets[q]:target_offsets[q+1]]``. ``now_ms`` is the time of the (first) target.
    """

    user_idx: np.ndarray
    start: np.ndarray
    stop: np.ndarray
    now_ms: np.ndarray
    target_offsets: np.ndarray
    target_idx: np.ndarray

    def __len__(self) -> int:
        return len(self.user_idx)

    def query_of_target(self) -> np.ndarray:
        """``[targets]`` int64."""
        return np.repeat(np.arange(len(self)), np.diff(self.target_offsets))

    def take(self, rows: np.ndarray) -> Queries:
        """The queries at ``rows [n]``, in that order."""
        low, high = self.target_offsets[rows], self.target_offsets[rows + 1]
        return Queries(
            user_idx=self.user_idx[rows],
            start=self.start[rows],
            stop=self.stop[rows],
            now_ms=self.now_ms[rows],
            target_offsets=offsets_from(high - low),
            target_idx=self.target_idx[flat_index(low, high)],
        )


def offsets_from(lengths: np.ndarray) -> np.ndarray:
    """``[n+1]`` int64 offsets of rows with ``lengths [n]``."""
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths, dtype=np.int64)])


def flat_index(start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """``start[0] … stop[0]-1, start[1] … stop[1]-1, …`` int64; an empty range gives nothing.

    >>> flat_index(np.array([5, 2, 9]), np.array([7, 2, 10])).tolist()
    [5, 6, 9]
    """
    lengths = stop - start
    before = np.cumsum(lengths) - lengths
    return np.arange(int(lengths.sum()), dtype=np.int64) + np.repeat(start - before, lengths)


def lower_bound(values: np.ndarray, start: np.ndarray, stop: np.ndarray, bound: np.ndarray) -> np.ndarray:
    """``[n]`` int64: the first index in ``start[i] … stop[i]`` whose value is not below ``bound[i]``.

    ``values`` must be sorted inside each range; ``stop[i]`` is the answer where every value is below.

    >>> lower_bound(np.array([1, 5, 5, 2, 3]), np.array([0, 3]), np.array([3, 5]), np.array([5, 9])).tolist()
    [1, 5]
    """
    values = np.asarray(values)
    low, high = start.astype(np.int64), stop.astype(np.int64)
    for _ in range(int((high - low).max(initial=0)).bit_length()):
        middle = (low + high) >> 1
        below = (low < high) & (values[np.minimum(middle, len(values) - 1)] < bound)
        low = np.where(below, middle + 1, low)
        high = np.where(below, high, middle)
    return low


def chunks(lengths: np.ndarray, size: int = _CHUNK_EVENTS) -> Iterator[tuple[int, int]]:
    """Consecutive ``(first, end)`` rows whose lengths add up to at most ``size``, or one row where that is longer."""
    ends = np.cumsum(lengths, dtype=np.int64)
    first = 0
    while first < len(ends):
        done = int(ends[first - 1]) if first else 0
        end = max(int(np.searchsorted(ends, done + size, side="right")), first + 1)
        yield first, end
        first = end
