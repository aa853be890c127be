from __future__ import annotations

import math

import pytest
import torch
from torch import autograd

from hpgr.core.jagged import offsets_of
from hpgr.ops.selective_scan import IMPLEMENTATIONS, chunks, selective_scan, selective_step, vectorised

LENGTHS = [[0, 1, 7], [5], [3, 0, 0, 2], [], [0], [40, 3, 17], [100]]


def drawn(size, channels=3, numbers=4):
    def leaf(x):
        return x.double().requires_grad_()

    u, b, c = leaf(torch.randn(size, channels)), leaf(torch.randn(size, numbers)), leaf(torch.randn(size, numbers))
    return [u, leaf(torch.rand(size, channels)), leaf(-torch.rand(channels, numbers) * 2), b, c]


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_three_events_of_two_users_by_hand(impl, close):
    half = -math.log(2.0)
    u = torch.tensor([[1.0], [10.0], [100.0]])
    delta = torch.tensor([[1.0], [2.0], [1.0]])
    b, c = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]), torch.tensor([[1.0, 1.0], [1.0, 2.0], [3.0, 1.0]])
    a = torch.tensor([[half, 0.0]])
    # States (1, 0); (1 / 4 + 20, 20); then, of one user, (20.25 / 2, 120), of another (0, 100).
    one = selective_scan(u, delta, a, b, c, torch.tensor([0, 3]), impl=impl)
    close(one.flatten(), torch.tensor([1.0, 20.25 + 40.0, 30.375 + 120.0]))
    two = selective_scan(u, delta, a, b, c, torch.tensor([0, 2, 3]), impl=impl)
    close(two.flatten(), torch.tensor([1.0, 60.25, 100.0]))


@pytest.mark.parametrize("steps", [None, 1, 4, 16])
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_vectorised_matches_the_reference_forward_and_backward(lengths, steps, close, monkeypatch):
    if steps is not None:
        monkeypatch.setattr(chunks, "_steps", lambda lengths, numbers: steps)
    leaves, offsets = drawn(sum(lengths)), offsets_of(torch.tensor(lengths, dtype=torch.int64))
    got, want = (selective_scan(*leaves, offsets, impl=i) for i in ("vectorised", "reference"))
    close(got, want)
    if not want.numel():
        return
    up = torch.randn_like(want)
    for mine, theirs in zip(*(autograd.grad(out, leaves, up) for out in (got, want))):
        close(mine, theirs)
    with torch.no_grad():
        close(selective_scan(*leaves, offsets), want)


@pytest.mark.parametrize("most", [1, 8, 11, 30])
def test_rows_that_go_in_groups_give_the_same(most, close, monkeypatch):
    lengths = [0, 7, 1, 0, 9, 3, 0]
    leaves, offsets = drawn(20), offsets_of(torch.tensor(lengths))
    want = selective_scan(*leaves, offsets, impl="reference")
    monkeypatch.setattr(vectorised, "_NUMBERS", most * 12)
    groups = vectorised._together(offsets.tolist(), most)
    sizes = offsets[groups].diff()
    assert sizes.min() > 0
    assert all(
        size <= most or lengths[start:stop].count(0) >= stop - start - 1
        for size, start, stop in zip(sizes.tolist(), groups, groups[1:])
    )
    got = selective_scan(*leaves, offsets)
    close(got, want)
    for mine, theirs in zip(*(autograd.grad(out.square().sum(), leaves) for out in (got, want))):
        close(mine, theirs)


def test_a_neighbour_changes_no_bit_of_a_user_s_states_or_gradients(monkeypatch):
    """Not a trace of it crosses the border, whatever stands there."""
    monkeypatch.setattr(chunks, "_steps", lambda lengths, numbers: 4)
    leaves, offsets = drawn(30), torch.tensor([0, 11, 19, 30])
    loud = [leaf.detach().clone() for leaf in leaves]
    for part in (0, 1, 3, 4):
        loud[part][:11] *= 1e6
        loud[part][19:] = loud[part][19:] * -1e6 if part != 1 else loud[part][19:] * 1e6
    results = []
    for given in (leaves, [x.requires_grad_() for x in loud]):
        out = selective_scan(*given, offsets)[11:19]
        grads = autograd.grad(out.square().sum(), given)
        assert all((grad[:11] == 0).all() and (grad[19:] == 0).all() for grad in (grads[0], grads[1], *grads[3:]))
        results.append([out, *(grad[11:19] for grad in (grads[0], grads[1], *grads[3:])), grads[2]])
    assert all(torch.equal(*pair) for pair in zip(*results))


def test_later_events_change_no_earlier_state():
    leaves, offsets = drawn(60), torch.tensor([0, 60])
    (grad,) = autograd.grad(selective_scan(*leaves, offsets)[:25].sum(), leaves[:1])
    assert (grad[25:] == 0).all()
    assert (grad[:25] != 0).all()


def test_single_precision_and_steps_agree_with_the_reference_on_long_rows():
    leaves = [x.detach() for x in drawn(1024, 8, 4)]
    want = selective_scan(*leaves, torch.tensor([0, 1024]), impl="reference")
    u, delta, a, b, c = single = [x.float() for x in leaves]
    got = selective_scan(*single, torch.tensor([0, 1024]))
    torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-5)
    state, outs = torch.zeros(1, 8, 4), []
    for t in range(1024):
        state, y = selective_step(state, (u[t : t + 1], delta[t : t + 1]), a, (b[t : t + 1], c[t : t + 1]))
        outs.append(y)
    torch.testing.assert_close(torch.cat(outs), got, rtol=1e-5, atol=1e-5)


def test_strong_forgetting_overflows_nothing():
    u, delta, a, b, c = (x.detach().float() for x in drawn(50))
    out = selective_scan(u, delta * 1e4, a * 1e4, b, c, torch.tensor([0, 50]))
    assert out.isfinite().all()


def test_bfloat16_is_computed_in_single_precision(close):
    leaves, offsets = [x.detach().bfloat16() for x in drawn(20)], torch.tensor([0, 20])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = selective_scan(*leaves, offsets)
    assert got.dtype == torch.bfloat16
    close(got, selective_scan(*(x.float() for x in leaves), offsets, impl="reference").bfloat16())


@pytest.mark.parametrize(
    ("lengths", "numbers", "most"), [([1024], 2048, 64), ([50] * 64, 4096, 64), ([7], 64, 8), ([2000] * 64, 4096, 4096)]
)
def test_rows_are_cut_where_few_of_them_would_leave_steps_empty(lengths, numbers, most):
    steps = chunks._steps(torch.tensor(lengths), numbers)
    assert steps <= most
    assert (steps >= max(lengths)) == (len(lengths) > 1 or max(lengths) < 8)


def test_bad_input_is_named():
    x, a, b = torch.randn(3, 2), torch.randn(2, 4), torch.randn(3, 5)
    with pytest.raises(ValueError, match=r"for a \(2, 4\); got \(3, 2\), \(3, 2\), \(3, 5\) and \(3, 5\)"):
        selective_scan(x, x, a, b, b, torch.tensor([0, 3]))
    with pytest.raises(ValueError, match=r"offsets \(ending at 2\) must be one row of offsets"):
        selective_scan(x, x, a, b[:, :4], b[:, :4], torch.tensor([0, 2]))
