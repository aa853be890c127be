"""Batches to a token budget: nothing lost, nearly equal, the same rows step by step on any number of ranks."""

from __future__ import annotations

import numpy as np
import pytest

from hpgr.data.budget import fill_by_length, fill_evenly, fill_in_order


def skewed(seed: int, rows: int = 4000, longest: int = 200) -> np.ndarray:
    """Lengths of windows in a log whose users are of very unlike activity."""
    drawn = np.random.default_rng(seed).lognormal(3.0, 1.3, rows)
    return np.clip(drawn.astype(np.int64), 2, longest)


def sums(cost: np.ndarray, batches: list[np.ndarray]) -> np.ndarray:
    return np.array([cost[rows].sum() for rows in batches])


def test_batches_in_order_by_hand():
    assert [b.tolist() for b in fill_in_order(np.array([3, 4, 2, 9, 1]), 8)] == [[0, 1], [2], [3], [4]]
    assert [b.tolist() for b in fill_evenly(np.array([4, 4, 4, 4, 4]), 12)] == [[0, 1], [2, 3, 4]]
    assert [b.tolist() for b in fill_evenly(np.array([4, 4, 4, 4]), 12)] == [[0, 1], [2, 3]]
    assert fill_evenly(np.array([], dtype=np.int64), 8) == []


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("budget", [4096, 8192])
def test_batches_are_within_a_tenth_of_each_other_and_none_is_above_the_budget(seed, budget):
    cost = skewed(seed)
    batches = fill_by_length(cost, budget, np.random.default_rng(seed))
    assert np.sort(np.concatenate(batches)).tolist() == list(range(len(cost)))
    tokens = sums(cost, batches)
    assert tokens.max() <= budget
    assert tokens.min() >= 0.9 * tokens.max()
    assert tokens.mean() > 0.9 * budget
    lengths = [cost[rows] for rows in batches]
    assert np.mean([n.max() - n.min() for n in lengths]) < 25, "lengths of a batch are alike"


@pytest.mark.parametrize("budget", [200, 250, 400])
def test_a_budget_of_a_row_or_two_is_kept_too(budget):
    cost = skewed(0)
    batches = fill_evenly(cost, budget)
    assert np.concatenate(batches).tolist() == list(range(len(cost)))
    assert sums(cost, batches).max() <= budget
    assert len(batches) <= 1.25 * len(fill_in_order(cost, budget))


@pytest.mark.parametrize("world", [2, 3, 8])
def test_ranks_read_step_by_step_what_one_reads_and_equal_shares(world):
    cost = skewed(1)
    alone = fill_by_length(cost, 4096, np.random.default_rng(7))
    ranks = [fill_by_length(cost, 4096, np.random.default_rng(7), (rank, world)) for rank in range(world)]
    assert {len(batches) for batches in ranks} == {-(-len(alone) // world)}
    together = [ranks[rank][step] for step in range(len(ranks[0])) for rank in range(world)]
    assert np.concatenate(together).tolist() == np.concatenate(alone).tolist()
    for step in range(len(ranks[0])):
        tokens = sums(cost, [batches[step] for batches in ranks])
        assert tokens.max() - tokens.min() <= max(0.1 * tokens.max(), cost.max())
    shares = sums(cost, [np.concatenate(batches) for batches in ranks])
    assert shares.max() <= 1.02 * shares.min()


@pytest.mark.parametrize(("rows", "world"), [(3, 2), (5, 3), (7, 7), (9, 4)])
def test_no_rank_is_left_without_rows(rows, world):
    cost = np.full(rows, 10)
    ranks = [fill_by_length(cost, 10, np.random.default_rng(0), (rank, world)) for rank in range(world)]
    assert len({len(batches) for batches in ranks}) == 1
    assert min(len(batch) for batches in ranks for batch in batches) >= 1
    assert sorted(row for batches in ranks for batch in batches for row in batch) == list(range(rows))
