"""Exact top-k and what may not be recommended."""

import pytest
import torch

from hpgr.core.jagged import Jagged
from hpgr.retrieval.exact import ExactIndex, best_products, top_k, true_counts, users_at_once


def test_best_first_and_the_lower_row_among_equals():
    rows, scores = top_k(torch.tensor([[1.0, 3.0, 3.0, 2.0]]), 3)
    assert rows.tolist() == [[1, 2, 3]]
    assert scores.tolist() == [[3.0, 3.0, 2.0]]


def test_excluded_rows_come_last_and_rows_outside_are_ignored():
    excluded = Jagged.from_lengths(torch.tensor([1, 4, -1, 0]), [3, 1])
    scores = torch.tensor([[1.0, 3.0, 2.0, 0.0], [5.0, 4.0, 3.0, 2.0]])
    rows, best = top_k(scores, 9, excluded=excluded)
    assert rows.tolist() == [[2, 0, 3, 1], [1, 2, 3, 0]]
    assert best[:, -1].tolist() == [-torch.inf] * 2
    assert scores[0, 1] == 3.0, "the caller's scores stay as they are"


def test_ties_at_the_last_place_equal_a_stable_sort():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randint(5, (40, 30), generator=generator).float()
    for k in (1, 7, 30):
        rows, values = top_k(scores, k)
        want = scores.sort(dim=1, descending=True, stable=True)
        assert torch.equal(rows, want.indices[:, :k])
        assert torch.equal(values, want.values[:, :k])


def test_many_users_many_items_and_ties_equal_a_sort_in_plain_python():
    generator = torch.Generator().manual_seed(1)
    # Three users at a time fit the cache: the blocks, and the users between whom they are cut, are all visited.
    scores = torch.randint(3, (11, 80_000), generator=generator).float()
    scores[3] = 0.0
    scores[4, 50:] = -torch.inf
    lengths = [0, 5, 200, 70_000, 0, 3, 3, 0, 9, 1, 40]
    excluded = Jagged.from_lengths(torch.randint(-1, 80_001, (sum(lengths),), generator=generator), lengths)
    assert users_at_once(scores) < len(scores) // 2
    rows, values = top_k(scores, 60, excluded=excluded)
    for b, start in enumerate(excluded.offsets[:-1].tolist()):
        banned = set(excluded.values[start : start + lengths[b]].tolist())
        mine = [-torch.inf if row in banned else score for row, score in enumerate(scores[b].tolist())]
        want = sorted(range(len(mine)), key=lambda row: (-mine[row], row))[:60]
        assert rows[b].tolist() == want, b
        assert values[b].tolist() == [mine[row] for row in want]


def test_nobody_and_nothing():
    for num_users, num_items, k in ((0, 5, 3), (2, 0, 3), (2, 5, 0)):
        rows, values = top_k(torch.zeros(num_users, num_items), k)
        assert rows.shape == values.shape == (num_users, min(k, num_items))
        assert rows.dtype == torch.int64


def test_true_entries_are_counted_by_row():
    mask = torch.tensor([[True, False, True], [False, False, False]])
    assert true_counts(mask).tolist() == [2, 0]
    assert true_counts(mask.T).tolist() == [1, 0, 1]


def vectors(num_items: int, dim: int = 3) -> torch.Tensor:
    """Whole numbers: scores are exact and full of ties."""
    return torch.randint(-2, 3, (num_items, dim), generator=torch.Generator().manual_seed(2)).float()


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("k", [1, 5, 40, 200])
def test_search_by_blocks_is_top_k_of_all_scores(monkeypatch, k, biased):
    monkeypatch.setattr("hpgr.retrieval.exact._BLOCK", 1)
    monkeypatch.setattr("hpgr.retrieval.exact._LEAST", 16)
    table, query = vectors(150), vectors(7)
    bias = vectors(150, 1).squeeze(1) if biased else None
    lengths = [0, 3, 150, 7, 0, 20, 1]
    excluded = Jagged.from_lengths(torch.randint(-1, 152, (sum(lengths),)), lengths)
    excluded.values[3:153] = torch.arange(150)
    scores = query @ table.T if bias is None else query @ table.T + bias
    for without in (None, excluded):
        rows, values = ExactIndex(table, bias).search(query, k, excluded=without)
        want_rows, want = top_k(scores, k, excluded=without)
        assert torch.equal(rows, want_rows)
        assert torch.equal(values, want)


def test_search_of_nobody_or_nothing():
    for num_users, num_items, k in ((0, 5, 3), (2, 0, 3), (2, 5, 0)):
        rows, values = ExactIndex(vectors(num_items)).search(vectors(num_users), k)
        assert rows.shape == values.shape == (num_users, min(k, num_items))


@pytest.mark.parametrize(("num_users", "num_vectors"), [(1, 4), (2, 1), (7, 4)])
@pytest.mark.parametrize("biased", [False, True])
def test_several_vectors_a_user_are_the_best_of_each(monkeypatch, close, num_users, num_vectors, biased):
    monkeypatch.setattr("hpgr.retrieval.exact._BLOCK", 1)
    monkeypatch.setattr("hpgr.retrieval.exact._LEAST", 16)
    table, query = vectors(150), vectors(num_users * num_vectors).unflatten(0, (num_users, num_vectors))
    bias = vectors(150, 1).squeeze(1) if biased else None
    excluded = Jagged.from_lengths(torch.randint(-1, 152, (num_users * 5,)), [5] * num_users)
    scores = (query @ table.T).amax(1)
    scores = scores if bias is None else scores + bias
    for without in (None, excluded):
        rows, values = ExactIndex(table, bias).search(query, 12, excluded=without)
        want_rows, want = top_k(scores, 12, excluded=without)
        assert torch.equal(rows, want_rows)
        close(values, want)


def test_products_with_the_best_of_several_vectors(close):
    rows, query = (
        torch.tensor([[1.0, 0.0], [0.0, 2.0]]),
        torch.tensor([[[1.0, 5.0], [3.0, 0.0]], [[1.0, 1.0], [4.0, -1.0]]]),
    )
    assert best_products(query, rows).tolist() == [3.0, 2.0]
    close(best_products(query[:, 0], rows), torch.tensor([1.0, 2.0]))
