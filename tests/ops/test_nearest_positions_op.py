from __future__ import annotations

import pytest
import torch

from hpgr.core.errors import ConfigError
from hpgr.core.jagged import offsets_of
from hpgr.ops.nearest_positions import IMPLEMENTATIONS, nearest_positions


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_cosine_and_dot_product_by_hand(impl):
    key = torch.tensor([[9.0, 9.0], [1.0, 0.0], [0.0, 0.1], [5.0, 5.0], [-1.0, 0.0]])
    query = torch.tensor([[2.0, 0.1]])
    where = torch.tensor([0, 1, 5]), torch.tensor([0, 0, 1])
    # The first user's event is out of reach; cosines of rows 1…4: .999, .050, .742, -.999; dots: 2, .01, 10.5, -2.
    assert nearest_positions(query, key, *where, 3, impl=impl).tolist() == [[1, 3, 2]]
    assert nearest_positions(query, key, *where, 3, cosine=False, impl=impl).tolist() == [[3, 1, 2]]
    assert nearest_positions(query, key, *where, 6, impl=impl).tolist() == [[1, 3, 2, 4, -1, -1]]


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_of_equal_events_the_later_wins(impl):
    key = torch.randn(3, 8)[[0, 1, 0, 2, 0, 1]]
    where = torch.tensor([0, 6]), torch.tensor([0, 1])
    assert nearest_positions(key[:1], key, *where, 3, impl=impl).tolist() == [[4, 2, 0]]


@pytest.mark.parametrize("cosine", [True, False])
@pytest.mark.parametrize(
    ("history", "candidates"),
    [([0, 1, 7], [2, 1, 3]), ([5], [4]), ([3, 0, 0, 2], [1, 2, 0, 1]), ([0], [2]), ([], []), ([40, 9], [3, 30])],
    ids=str,
)
def test_vectorised_matches_the_reference(history, candidates, cosine):
    # Items repeat, so that equal scores are common.
    items = torch.randn(6, 16)
    key, query = items[torch.randint(0, 6, (sum(history),))], items[torch.randint(0, 6, (sum(candidates),))]
    where = [offsets_of(torch.tensor(lengths, dtype=torch.int64)) for lengths in (history, candidates)]
    got, want = (nearest_positions(query, key, *where, 4, cosine=cosine, impl=i) for i in ("vectorised", "reference"))
    assert got.tolist() == want.tolist()


def test_ties_do_not_depend_on_the_batch():
    items = torch.randn(4, 48)
    key, query = items[torch.randint(0, 4, (210,))], items[:3]
    offsets = torch.tensor([0, 10, 60, 210])
    together = nearest_positions(query, key, offsets, torch.tensor([0, 1, 2, 3]), 8)
    for user in range(3):
        rows = slice(*offsets[user : user + 2].tolist())
        one = torch.tensor([0, rows.stop - rows.start]), torch.tensor([0, 1])
        alone = nearest_positions(query[user : user + 1], key[rows], *one, 8)
        assert together[user].tolist() == (alone + rows.start).squeeze(0).tolist()


def test_there_is_no_gradient():
    vectors = torch.randn(3, 4, requires_grad=True)
    assert not nearest_positions(vectors, vectors, torch.tensor([0, 3]), torch.tensor([0, 3]), 2).requires_grad


def test_bad_input_is_named():
    vectors, offsets = torch.randn(3, 4), torch.tensor([0, 3])
    with pytest.raises(ConfigError, match=r"k \(0\) must be at least 1"):
        nearest_positions(vectors, vectors, offsets, offsets, 0)
    with pytest.raises(ValueError, match=r"query and key must be \(C, D\) and \(T, D\); got \(3, 2\) and \(3, 4\)"):
        nearest_positions(vectors[:, :2], vectors, offsets, offsets, 1)
