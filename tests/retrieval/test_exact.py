"""Exact top-k and what may not be recommended."""

import torch

from hpgr.core.jagged import Jagged
from hpgr.retrieval.exact import top_k


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
