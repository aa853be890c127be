"""Searches inside many ranges at once."""

from __future__ import annotations

import numpy as np
import pytest

from hpgr.data.ranges import Queries, chunks, flat_index, lower_bound


@pytest.mark.parametrize("seed", range(5))
def test_lower_bound_is_searchsorted_in_each_range(seed):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 9, 50)
    stop = np.cumsum(lengths)
    start = stop - lengths
    values = np.concatenate([np.sort(rng.integers(0, 6, n)) for n in lengths])
    bound = rng.integers(-1, 8, 50)
    want = [s + np.searchsorted(values[s:e], b) for s, e, b in zip(start, stop, bound)]
    assert lower_bound(values, start, stop, bound).tolist() == want


def test_nothing_to_search_gives_nothing():
    none = np.zeros(0, dtype=np.int64)
    assert lower_bound(none, none, none, none).tolist() == []
    assert lower_bound(none, np.zeros(2, dtype=np.int64), np.zeros(2, dtype=np.int64), np.ones(2)).tolist() == [0, 0]
    assert flat_index(none, none).tolist() == []


def test_chunks_cover_every_row_within_the_size():
    lengths = np.array([3, 0, 4, 9, 1, 1, 1])
    assert list(chunks(lengths, 7)) == [(0, 3), (3, 4), (4, 7)]


def test_taken_queries_keep_their_targets():
    zeros = np.zeros(3, dtype=np.int64)
    queries = Queries(
        user_idx=np.arange(3),
        start=zeros,
        stop=zeros,
        now_ms=zeros,
        target_offsets=np.array([0, 2, 2, 5]),
        target_idx=np.array([7, 8, 1, 2, 3]),
    )
    taken = queries.take(np.array([2, 0]))
    assert taken.user_idx.tolist() == [2, 0]
    assert taken.target_idx.tolist() == [1, 2, 3, 7, 8]
    assert taken.target_offsets.tolist() == [0, 3, 5]
    assert taken.query_of_target().tolist() == [0, 0, 0, 1, 1]
