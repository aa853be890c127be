"""Losses against numbers worked out by hand and against the plain expression."""

from math import exp, log

import pytest
import torch
import torch.nn.functional as F

from hpgr.objectives.losses.binary import binary_loss, sampled_binary_loss
from hpgr.objectives.losses.softmax import softmax_loss, softmax_reference


def test_softmax_by_hand():
    states = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    table = torch.tensor([[0.0, 0.0], [log(3.0), 0.0]])
    # Row 0 scores (0, ln 3): p = 1/4, 3/4. Row 1 scores (0, 0): p = 1/2.
    got = softmax_loss(states, torch.tensor([1, 0]), table)
    assert got.item() == pytest.approx((log(4 / 3) + log(2)) / 2)


def test_chunks_change_neither_value_nor_gradient():
    torch.manual_seed(0)
    states = torch.randn(23, 5, dtype=torch.float64, requires_grad=True)
    table = torch.randn(11, 5, dtype=torch.float64, requires_grad=True)
    target = torch.randint(11, (23,))
    bias = torch.randn(11, dtype=torch.float64, requires_grad=True)
    want = F.cross_entropy(states @ table.T + bias, target)
    got = softmax_loss(states, target, table, bias_V=bias, chunk=4)
    torch.testing.assert_close(got, want)
    parts = (states, table, bias)
    for a, b in zip(torch.autograd.grad(3 * got, parts), torch.autograd.grad(3 * want, parts)):
        torch.testing.assert_close(a, b)
    frozen = softmax_loss(states.detach(), target, table.detach(), chunk=4)
    torch.testing.assert_close(frozen, F.cross_entropy(states @ table.T, target))


def test_softmax_of_hopeless_targets_is_finite_and_autocast_stays_near():
    states, table = torch.tensor([[300.0, 0.0], [0.5, 0.0]]), torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert softmax_loss(states, torch.tensor([1, 0]), table).item() == pytest.approx((600 + log(1 + exp(-1))) / 2)
    torch.manual_seed(0)
    states, table, target = torch.randn(30, 8, requires_grad=True), torch.randn(11, 8), torch.randint(11, (30,))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cost = softmax_loss(states, target, table)
    cost.backward()
    assert cost.dtype == states.grad.dtype == torch.float32
    assert cost.item() == pytest.approx(F.cross_entropy(states @ table.T, target).item(), rel=0.01)


def test_nothing_to_predict_costs_nothing():
    table = torch.randn(3, 2, requires_grad=True)
    cost = softmax_loss(torch.zeros(0, 2, requires_grad=True), torch.zeros(0, dtype=torch.int64), table)
    cost.backward()
    assert cost.item() == 0
    assert sampled_binary_loss(torch.zeros(0), torch.zeros(0, 1), torch.zeros(0, 1, dtype=torch.bool)).item() == 0


def test_sampled_binary_by_hand():
    # -ln σ(0) = ln 2; -ln(1 - σ(ln 3)) = ln 4, and the second negative does not count.
    got = sampled_binary_loss(torch.tensor([0.0]), torch.tensor([[log(3), 5.0]]), torch.tensor([[True, False]]))
    assert got.item() == pytest.approx(log(2) + log(4) / 2)


def test_binary_is_a_weighted_mean_over_candidates():
    logits = torch.tensor([[0.0], [log(3)], [9.0]])
    label = torch.tensor([[1.0], [0.0], [0.0]])
    got = binary_loss(logits, label, torch.tensor([1.0, 3.0, 0.0]))
    assert got.item() == pytest.approx((log(2) + 3 * log(4)) / 4)
    assert binary_loss(logits, label, torch.zeros(3)).item() == 0


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("count", [1, 7, 23])
def test_blocks_of_predictions_and_items_change_neither_value_nor_gradient(monkeypatch, count, biased):
    monkeypatch.setattr("hpgr.objectives.losses.softmax._WHOLE", 0)
    monkeypatch.setattr("hpgr.objectives.losses.softmax_blocks._ON_CPU", (12, 4))
    torch.manual_seed(0)
    states = torch.randn(count, 5, dtype=torch.float64, requires_grad=True)
    table = torch.randn(11, 5, dtype=torch.float64, requires_grad=True)
    target = torch.randint(11, (count,))
    bias = torch.randn(11, dtype=torch.float64, requires_grad=True) if biased else None
    want = softmax_reference(states, target, table, bias_V=bias)
    got = softmax_loss(states, target, table, bias_V=bias)
    torch.testing.assert_close(got, want)
    parts = (states, table, bias) if biased else (states, table)
    for a, b in zip(torch.autograd.grad(3 * got, parts), torch.autograd.grad(3 * want, parts)):
        torch.testing.assert_close(a, b)
    only_states = torch.autograd.grad(softmax_loss(states, target, table.detach(), bias_V=bias), states)[0]
    again = softmax_reference(states, target, table, bias_V=bias)
    torch.testing.assert_close(only_states, torch.autograd.grad(again, states)[0])


def test_blocks_under_autocast_sum_in_float32_and_hopeless_targets_stay_finite(monkeypatch):
    monkeypatch.setattr("hpgr.objectives.losses.softmax_blocks._ON_CPU", (12, 4))
    torch.manual_seed(0)
    states, table = torch.randn(30, 8, requires_grad=True), torch.randn(11, 8, requires_grad=True)
    target, found = torch.randint(11, (30,)), []
    for whole in (10**6, 0):
        monkeypatch.setattr("hpgr.objectives.losses.softmax._WHOLE", whole)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            cost = softmax_loss(states, target, table)
        found.append((cost, *torch.autograd.grad(cost, (states, table))))
        assert [x.dtype for x in found[-1]] == [torch.float32] * 3
    for rows, blocks in zip(*found):
        torch.testing.assert_close(blocks, rows, rtol=0.02, atol=2e-3)
    states, table = torch.tensor([[300.0, 0.0], [0.5, 0.0]]), torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert softmax_loss(states, torch.tensor([1, 0]), table).item() == pytest.approx((600 + log(1 + exp(-1))) / 2)
