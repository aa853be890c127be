from __future__ import annotations

import pytest
import torch

from hpgr.core.errors import ConfigError
from hpgr.core.jagged import offsets_of
from hpgr.ops.nearest_positions import IMPLEMENTATIONS, nearest_positions
from hpgr.ops.nearest_positions.grid import LENGTH, on_grid


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


@pytest.mark.parametrize(("length", "k"), [(4000, 3), (4001, 16), (700, 1)])
def test_long_histories_are_searched_in_groups_and_candidates_in_blocks(length, k):
    items = torch.randn(150, 8)
    key, query = items[torch.randint(0, 150, (length,))], items[:90]
    where = torch.tensor([0, length]), torch.tensor([0, 90])
    want, *others = (
        nearest_positions(query[:4], key, where[0], torch.tensor([0, 4]), k, impl=i) for i in IMPLEMENTATIONS
    )
    assert [got.tolist() for got in others] == [want.tolist()] * 2
    assert torch.equal(nearest_positions(query, key, *where, k)[:4], want)


def test_no_tensor_of_all_candidates_by_all_events(monkeypatch):
    sizes = []
    product = torch.bmm
    monkeypatch.setattr(torch, "bmm", lambda *of: sizes.append((found := product(*of)).numel()) or found)
    nearest_positions(torch.randn(400, 4), torch.randn(3000, 4), torch.tensor([0, 3000]), torch.tensor([0, 400]), 4)
    assert len(sizes) > 1
    assert max(sizes) <= 1 << 18


def test_directions_on_the_grid_multiply_without_rounding():
    x = on_grid(torch.randn(50, 512))
    exact = x.double() @ x.double().T
    assert torch.equal((x @ x.T).double(), exact)
    assert exact.max() <= 2**24
    cosine = torch.nn.functional.cosine_similarity(x[:1].double(), x.double())
    assert (exact[0] / LENGTH**2 - cosine).abs().max() < 1e-2
    assert torch.equal(on_grid(torch.zeros(1, 3)), torch.zeros(1, 3))


def test_vectors_that_autocast_would_round_are_compared_exactly():
    items = torch.randn(40, 16)
    where = torch.tensor([0, 40]), torch.tensor([0, 40])
    want = nearest_positions(items, items, *where, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(nearest_positions(items, items, *where, 3), want)
