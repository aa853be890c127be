import numpy as np
import pytest
import torch

from hpgr.core.errors import DataError
from hpgr.core.jagged import Jagged
from hpgr.evaluation.ranks import NEVER, RankCounts, rank_counts, rank_counts_by_blocks


def jagged(rows):
    flat = torch.tensor([x for row in rows for x in row], dtype=torch.int64)
    return Jagged.from_lengths(flat, [len(row) for row in rows])


def test_counts_by_hand():
    scores = torch.tensor([[5.0, 3.0, 3.0, 1.0, 3.0], [0.0, 0.0, 9.0, 0.0, 0.0]])
    counts = rank_counts(scores, torch.tensor([1, 3]), excluded=jagged([[4], [2, 2]]))
    assert counts.better.tolist() == [1, 0]
    assert counts.tied.tolist() == [1, 3]
    assert counts.eligible.tolist() == [4, 4]


def test_targets_that_no_list_can_hold_are_counted_as_misses():
    counts = rank_counts(torch.zeros(4, 3), torch.tensor([-1, 3, 0, 1]), excluded=jagged([[], [], [0], [2, 7, -1]]))
    assert counts.missed.tolist() == [True, True, True, False]
    assert counts.better.tolist() == [NEVER, NEVER, NEVER, 0]
    assert counts.tied.tolist() == [0, 0, 0, 1]
    assert counts.eligible.tolist() == [3, 3, 2, 2]


def test_a_row_named_twice_counts_once_but_items_outside_the_catalogue_are_all_different():
    counts = rank_counts(torch.tensor([[3.0, 2.0, 1.0]]), jagged([[2, 3, 0, 2, 3]]))
    assert counts.rows.tolist() == [2, 3, 0, 3]
    assert counts.offsets.tolist() == [0, 4]
    assert counts.better.tolist() == [2, NEVER, 0, NEVER]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int64], ids=str)
def test_blocks_and_budgets_give_what_a_plain_loop_gives(dtype):
    generator = torch.Generator().manual_seed(3)
    scores = torch.randint(0, 6, (9, 37), generator=generator).to(dtype)
    targets = jagged([torch.randperm(39, generator=generator)[: 1 + q % 4].tolist() for q in range(9)])
    excluded = jagged([torch.randint(0, 38, (q,), generator=generator).tolist() for q in range(9)])
    whole = rank_counts(scores, targets, excluded=excluded)
    calls = []

    def block(start, stop):
        calls.append(stop - start)
        return scores[:, start:stop]

    parts = rank_counts_by_blocks(block, 37, targets, excluded=excluded, memory_mb=32 * 9 * 5 / 2**20)
    assert max(calls) == 5
    assert len(calls) > 8
    for name in ("rows", "offsets", "better", "tied", "eligible"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))
    for i, (query, row) in enumerate(zip(whole.query_of_target(), whole.rows)):
        banned = set(excluded.values[excluded.offsets[query] : excluded.offsets[query + 1]].tolist())
        others = [j for j in range(37) if j not in banned and j != row]
        if row >= 37 or row in banned:
            assert whole.missed[i]
            continue
        assert whole.better[i] == sum(bool(scores[query, j] > scores[query, row]) for j in others)
        assert whole.tied[i] == sum(bool(scores[query, j] == scores[query, row]) for j in others)
        assert whole.eligible[i] == len(others) + 1


def test_ties_among_many_users_and_items_are_counted_as_a_plain_loop_does():
    generator = torch.Generator().manual_seed(5)
    scores = torch.randint(3, (7, 90_000), generator=generator).float()
    scores[2] = -torch.inf
    targets = jagged([torch.randint(90_000, (1 + 3 * (q % 3),), generator=generator).tolist() for q in range(7)])
    excluded = jagged([torch.randint(90_000, (1000 * (q % 2),), generator=generator).tolist() for q in range(7)])
    before = scores.clone()
    # Two blocks of items, each cut into some users at a time.
    counts = rank_counts(scores, targets, excluded=excluded, memory_mb=10.0)
    assert torch.equal(scores, before)
    assert counts.tied.min() > 20_000
    for i, (query, row) in enumerate(zip(counts.query_of_target(), counts.rows)):
        banned = excluded.values[excluded.offsets[query] : excluded.offsets[query + 1]].tolist()
        others = np.delete(scores[query].numpy(), [*banned, row])
        assert row not in banned
        own = float(scores[query, row])
        assert (counts.better[i], counts.tied[i]) == ((others > own).sum(), (others == own).sum())
        assert counts.eligible[i] == len(others) + 1


def test_infinite_scores_are_scores():
    counts = rank_counts(torch.tensor([[-torch.inf, 1.0, -torch.inf, torch.inf]]), torch.tensor([0]))
    assert (counts.better[0], counts.tied[0]) == (2, 1)


def test_batches_join_and_targets_can_be_dropped():
    scores = torch.tensor([[3.0, 2.0, 1.0]])
    both = RankCounts.concat([rank_counts(scores, jagged([[0, 2]])), rank_counts(scores, torch.tensor([1]))])
    assert both.offsets.tolist() == [0, 2, 3]
    assert both.better.tolist() == [0, 2, 1]
    kept, queries = both.keep(np.array([False, False, True]))
    assert (queries.tolist(), kept.offsets.tolist(), kept.better.tolist()) == ([1], [0, 1], [1])
    assert RankCounts.concat([]).num_queries == 0


def test_what_would_corrupt_a_rank_is_refused():
    with pytest.raises(DataError, match=r"scores \(NaN in 1 of 2 queries\) must be numbers"):
        rank_counts(torch.tensor([[1.0, 2.0], [torch.nan, 0.0]]), torch.tensor([0, 1]))
    with pytest.raises(DataError, match=r"targets \(1 of 2 queries have none\) must not be empty"):
        rank_counts(torch.zeros(2, 2), jagged([[0], []]))
    with pytest.raises(DataError, match=r"excluded \(1 rows\) must have one row for each query \(2\)"):
        rank_counts(torch.zeros(2, 2), torch.tensor([0, 1]), excluded=jagged([[0]]))
    with pytest.raises(DataError, match=r"scores \(shape \(2, 2\)\) must have the shape \(1, 2\)"):
        rank_counts(torch.zeros(2, 2), torch.tensor([0]))
