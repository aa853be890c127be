"""Neighbours and EASE by hand, against dense definitions, and in blocks."""

import pytest
import torch

import hpgr.objectives.baskets as baskets
from hpgr.core.batch import History
from hpgr.core.errors import ConfigError, UnknownNameError
from hpgr.core.seeds import torch_generator
from hpgr.objectives.ease import Ease
from hpgr.objectives.neighbours import CosineNeighbours

V = 12


def counted(rule, histories, num_items):
    counter = rule.counter(num_items)
    for history in histories:
        counter.add(history)
    return counter


def random_users(seed: int) -> list[History]:
    generator = torch_generator(seed, "items")
    rows = [torch.randint(V + 1, (length,), generator=generator).tolist() for length in (0, 9, 3, 1, 14, 6, 6)]
    return [History.from_lists(rows[:3]), History.from_lists(rows[3:])]


def matrix(histories, *, binary: bool = True) -> torch.Tensor:
    """Users × items."""
    rows = [row for h in histories for row in h.item_idx.split(h.lengths.tolist())]
    x_UV = torch.stack([row.bincount(minlength=V + 1)[:V] for row in rows]).double()
    return x_UV.clamp(max=1) if binary else x_UV


def test_cosine_by_hand():
    # Users have {0, 1, 2}, {0, 1}, {0, 3}: counts 3, 2, 1, 1; item 4 is outside the catalogue.
    histories = [History.from_lists([[0, 1, 2, 0], [1, 0]]), History.from_lists([[4, 0, 3]])]
    links = counted(CosineNeighbours(num_neighbours=2, shrinkage=1.0), histories, num_items=4).links()
    nearest = [(a, b, round(w, 4)) for a, b, w in zip(*(column.tolist() for column in links))]
    assert nearest == [
        (0, 1, round(2 / (6**0.5 + 1), 4)),
        (0, 2, round(1 / (3**0.5 + 1), 4)),  # as near as 3, which stands later
        (1, 0, round(2 / (6**0.5 + 1), 4)),
        (1, 2, round(1 / (2**0.5 + 1), 4)),
        (2, 1, round(1 / (2**0.5 + 1), 4)),
        (2, 0, round(1 / (3**0.5 + 1), 4)),
        (3, 0, round(1 / (3**0.5 + 1), 4)),
    ]


def test_sessions_may_be_the_baskets():
    history = History.from_lists([[0, 1, 2]], sessions=[[0, 0, 1]])
    from_N, to_N, _ = counted(CosineNeighbours(basket="session"), [history], num_items=3).links()
    assert list(zip(from_N.tolist(), to_N.tolist())) == [(0, 1), (1, 0)]


@pytest.mark.parametrize("basket", ["user", "session"])
def test_users_of_different_batches_do_not_meet(basket):
    histories = [History.from_lists([[0, 1]]), History.from_lists([[2, 3]])]
    from_N, to_N, _ = counted(CosineNeighbours(basket=basket), histories, num_items=4).links()
    assert list(zip(from_N.tolist(), to_N.tolist())) == [(0, 1), (1, 0), (2, 3), (3, 2)]


@pytest.mark.parametrize("at_once", [1, 40, 10_000])
@pytest.mark.parametrize("num_items", [V, 100_000], ids=["counted into a table", "sorted"])
def test_blocks_do_not_matter(at_once, num_items, monkeypatch, close):
    monkeypatch.setattr(baskets.runs, "__defaults__", (at_once,))
    histories = random_users(seed=3)
    for history in histories:
        history.item_idx[history.item_idx == V] = num_items
    from_N, to_N, weight_N = counted(CosineNeighbours(num_neighbours=V, shrinkage=0.0), histories, num_items).links()
    for history in histories:
        history.item_idx[history.item_idx == num_items] = V
    x_UV = torch.nn.functional.normalize(matrix(histories), dim=0)
    want_VV = (x_UV.T @ x_UV).fill_diagonal_(0)
    got_VV = torch.zeros(V, V).index_put_((from_N, to_N), weight_N)
    close(got_VV, want_VV.float())
    assert bool((from_N.diff() >= 0).all())
    assert len(from_N) == int((want_VV > 0).sum())


def test_no_events_no_links():
    assert [len(column) for column in CosineNeighbours().counter(3).links()] == [0, 0, 0]
    assert torch.equal(Ease().counter(3).weights(), torch.zeros(3, 3))


def test_the_newest_events_are_asked_and_fade():
    event, weight = CosineNeighbours(reach=2, decay=0.5).recall(History.from_lists([[7, 8, 9], [], [5]]))
    assert dict(zip(event.tolist(), weight.tolist())) == {1: 0.5, 2: 1.0, 3: 1.0}


def test_ease_of_two_items_by_hand(close):
    # Gram [[3, 1], [1, 2]] and l2 1: P is proportional to [[3, -1], [-1, 4]], so B[0, 1] = 1 / 4 and B[1, 0] = 1 / 3.
    histories = [History.from_lists([[0, 1, 1], [0]]), History.from_lists([[0], [1], []])]
    close(counted(Ease(l2=1.0), histories, num_items=2).weights(), torch.tensor([[0.0, 1 / 4], [1 / 3, 0.0]]))


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("at_once", [1, 30, 10_000])
def test_ease_is_each_items_ridge_regression(binary, at_once, monkeypatch, close):
    monkeypatch.setattr(baskets.runs, "__defaults__", (at_once,))
    histories = random_users(seed=4)
    got_VV = counted(Ease(l2=2.0, binary=binary), histories, V).weights()
    x_UV = matrix(histories, binary=binary)
    for item in range(V):
        others = [i for i in range(V) if i != item]
        x = x_UV[:, others]
        want = torch.linalg.solve(x.T @ x + 2.0 * torch.eye(V - 1), x.T @ x_UV[:, item])
        close(got_VV[others, item], want.float())
        assert got_VV[item, item] == 0


def test_ease_asks_an_item_once_or_every_time():
    history = History.from_lists([[1, 2, 1], [2], []])
    event, weight = Ease(decay=0.5).recall(history)
    assert dict(zip(event.tolist(), weight.tolist())) == {1: 0.5, 2: 1.0, 3: 1.0}
    event, weight = Ease(binary=False, decay=0.5).recall(history)
    assert dict(zip(event.tolist(), weight.tolist())) == {0: 0.25, 1: 0.5, 2: 1.0, 3: 1.0}


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: CosineNeighbours(num_neighbours=0), ConfigError, r"num_neighbours \(0\) must be at least 1"),
        (lambda: CosineNeighbours(reach=0), ConfigError, r"reach \(0\) must be at least 1"),
        (lambda: CosineNeighbours(shrinkage=-1.0), ConfigError, r"shrinkage \(-1.0\) must be at least 0"),
        (lambda: CosineNeighbours(decay=0.0), ConfigError, r"decay \(0.0\) must lie in \(0, 1\]"),
        (lambda: CosineNeighbours(basket="users"), UnknownNameError, "no basket is named 'users'; did you mean user"),
        (lambda: Ease(l2=0.0), ConfigError, r"l2 \(0.0\) must be greater than 0"),
        (lambda: Ease(decay=2.0), ConfigError, r"decay \(2.0\) must lie in \(0, 1\]"),
        (lambda: Ease(basket="day"), UnknownNameError, "no basket is named 'day'"),
    ],
)
def test_wrong_options_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()
