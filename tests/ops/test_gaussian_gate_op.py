from __future__ import annotations

import math

import pytest
import torch
from torch import autograd

from hpgr.core.errors import ConfigError
from hpgr.ops.gaussian_gate import IMPLEMENTATIONS, gaussian_gate, radius

HALF, FAR = math.exp(-0.5), math.exp(-2.0)


def _gate(rows, impl, offsets=(0, 8), weight=None, **options):
    rows_CK = torch.tensor(rows)
    weight_CK = torch.tensor(weight or torch.ones(rows_CK.shape).tolist(), dtype=torch.float64)
    return gaussian_gate(rows_CK, weight_CK, torch.tensor(offsets), impl=impl, **({"sigma": 1.0} | options))


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_one_centre_by_hand(impl, close):
    rows, gate = _gate([[4]], impl, floor=0.1)
    assert rows.tolist() == [[2, 3, 4, 5, 6]]
    close(gate, torch.tensor([[FAR, HALF, 1.0, HALF, FAR]], dtype=torch.float64))


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_two_centres_add_up_to_at_most_one_or_give_the_higher(impl, close):
    rows, gate = _gate([[5, 3]], impl, floor=0.1)
    assert rows.tolist() == [[1, 2, 3, 4, 5, 6, 7]]
    edge = FAR + math.exp(-8.0), HALF + math.exp(-4.5)
    close(gate, torch.tensor([[*edge, 1.0, 1.0, 1.0, *edge[::-1]]], dtype=torch.float64))
    rows, gate = _gate([[5, 3]], impl, floor=0.1, aggregate="max")
    close(gate, torch.tensor([[FAR, HALF, 1.0, HALF, 1.0, HALF, FAR]], dtype=torch.float64))


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_the_sum_counts_centres_beyond_their_own_radius(impl):
    """Each of two centres gives .011 to row 104, three away: below the floor alone, above it together."""
    rows, _ = _gate([[101, 107, -1, -1]], impl, offsets=(0, 200), floor=0.02)
    assert 104 in rows[0].tolist()
    rows, _ = _gate([[101, -1, -1, -1]], impl, offsets=(0, 200), floor=0.02)
    assert 104 not in rows[0].tolist()


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_weights_scale_and_the_floor_drops(impl, close):
    rows, gate = _gate([[0, 6]], impl, weight=[[1.0, 0.2]], floor=0.15)
    assert rows.tolist() == [[0, 1, 6]]
    close(gate, torch.tensor([[1.0, HALF + 0.2 * math.exp(-12.5), 0.2 + math.exp(-18.0)]], dtype=torch.float64))


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_a_bump_ends_at_its_user_and_where_asked_at_its_session(impl):
    rows, _ = _gate([[2], [3]], impl, offsets=(0, 3, 8), floor=0.1)
    assert rows.tolist() == [[0, 1, 2], [3, 4, 5]]
    rows, _ = _gate([[2], [4]], impl, floor=0.1, session_T=torch.tensor([0, 0, 1, 1, 1, 2, 2, 2]))
    assert rows.tolist() == [[2, 3, 4], [2, 3, 4]]


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_a_width_of_zero_is_hard_and_an_infinite_one_is_everything(impl):
    rows, gate = _gate([[5, 3, -1], [-1, -1, -1]], impl, sigma=0.0)
    assert rows.tolist() == [[3, 5], [-1, -1]]
    assert gate.tolist() == [[1.0, 1.0], [0.0, 0.0]]
    rows, gate = _gate([[1], [4]], impl, offsets=(0, 3, 8), sigma=math.inf)
    assert rows.tolist() == [[0, 1, 2, -1, -1], [3, 4, 5, 6, 7]]
    assert gate.tolist() == [[1.0, 1.0, 1.0, 0.0, 0.0], [1.0] * 5]


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_every_position_chosen_is_dense(impl):
    rows, gate = _gate([list(range(7, -1, -1))], impl)
    assert rows.tolist() == [list(range(8))]
    assert gate.tolist() == [[1.0] * 8]


@pytest.mark.parametrize("aggregate", ["sum", "max"])
@pytest.mark.parametrize("same_session", [False, True])
@pytest.mark.parametrize("sigma", [0.4, 1.5])
@pytest.mark.parametrize("impl", ["vectorised", "fixed"])
def test_it_matches_the_reference_forward_and_backward(impl, aggregate, same_session, sigma, close):
    """Three users of 0, 50 and 4 events: short windows in a long history, then windows as long as the history."""
    offsets = torch.tensor([0, 0, 50, 54])
    session_T = torch.arange(54) // 3
    for num_centres in (3, 20):
        first = torch.stack([torch.randperm(50)[:num_centres] for _ in range(3)])
        second = torch.full((1, num_centres), -1)
        second[0, :3] = torch.tensor([53, 50, 52])
        rows = torch.cat([first, second, torch.full((1, num_centres), -1)])
        weight = torch.rand(rows.shape, dtype=torch.float64).requires_grad_()
        width = torch.tensor(sigma, dtype=torch.float64, requires_grad=True)
        options = {"sigma": width, "aggregate": aggregate, "session_T": session_T if same_session else None}
        got, want = (gaussian_gate(rows, weight, offsets, impl=i, **options) for i in (impl, "reference"))
        assert got[0].tolist() == want[0].tolist()
        close(got[1], want[1])
        up = torch.randn_like(want[1])
        for mine, theirs in zip(*(autograd.grad(out[1], [weight, width], up) for out in (got, want))):
            close(mine, theirs)


@pytest.mark.parametrize("aggregate", ["sum", "max"])
def test_a_list_is_no_longer_than_the_bound(aggregate):
    for sigma, floor, num_centres in ((1.0, 0.01, 4), (2.5, 0.05, 2), (0.3, 0.01, 6)):
        centres = torch.arange(num_centres)[None] * 40 + 30
        weight = torch.ones(centres.shape)
        rows, _ = gaussian_gate(centres, weight, torch.tensor([0, 400]), sigma=sigma, floor=floor, aggregate=aggregate)
        overlapping = num_centres if aggregate == "sum" else 1
        bound = num_centres * (2 * math.floor(sigma * math.sqrt(2 * math.log(overlapping / floor))) + 1)
        assert 0 < (rows >= 0).sum() <= bound
        assert aggregate == "sum" or (rows >= 0).sum() == bound
        assert len(set(rows[0].tolist())) == rows.shape[1]


def test_radius_by_hand():
    # sqrt(2 ln 100) = 3.03, sqrt(2 ln 3200) = 4.02.
    assert (radius(1.0, 0.01), radius(2.0, 0.01), radius(1.0, 0.01, overlapping=32)) == (3.0, 6.0, 4.0)
    assert (radius(0.0, 0.01), radius(5.0, 1.0), radius(math.inf, 1.0)) == (0.0, 0.0, math.inf)


def test_bad_input_is_named():
    with pytest.raises(ConfigError, match=r"sigma \(-1.0\) must not be negative"):
        _gate([[1]], "auto", sigma=-1.0)
    with pytest.raises(ConfigError, match=r"floor \(0.0\) must lie above 0 and not above 1; without a floor"):
        _gate([[1]], "auto", floor=0.0)
    with pytest.raises(ConfigError, match=r"aggregate \(mean\) must be sum or max"):
        _gate([[1]], "auto", aggregate="mean")
    with pytest.raises(ValueError, match=r"rows \(1, 1\) and weights \(1, 2\) must both be \(C, K\), K at least 1"):
        _gate([[1]], "auto", weight=[[1.0, 1.0]])


@pytest.mark.parametrize("sigma", [0.0, 0.7, 2.0])
def test_crowded_centres_and_borders_of_long_histories_match_the_reference(sigma, close):
    offsets = torch.tensor([0, 3, 403, 700])
    rows = torch.tensor([[3, 4, 6, 402, 390], [403, 699, 698, 500, 520], [-1, 100, -1, 103, -1], [-1] * 5])
    weight = torch.rand(rows.shape, dtype=torch.float64).requires_grad_()
    got, want = (gaussian_gate(rows, weight, offsets, sigma=sigma, impl=i) for i in ("vectorised", "reference"))
    assert got[0].tolist() == want[0].tolist()
    close(got[1], want[1])
    up = torch.randn_like(want[1])
    close(*(autograd.grad(out[1], weight, up)[0] for out in (got, want)))


@pytest.mark.parametrize("aggregate", ["sum", "max"])
@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_without_any_event_nothing_is_listed(impl, aggregate):
    rows, gate = _gate([[-1]], impl, offsets=(0, 0), aggregate=aggregate)
    assert (rows.shape, gate.shape) == ((1, 0), (1, 0))
