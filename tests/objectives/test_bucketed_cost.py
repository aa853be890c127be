"""Softmax over buckets: against the loop, against the whole catalogue, and what a bucket takes."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F

from hpgr.core.seeds import torch_generator
from hpgr.objectives import bucketed_cost
from hpgr.objectives.bucketed_cost import BucketedSoftmax
from hpgr.objectives.costs import FullSoftmax
from hpgr.objectives.losses.bucketed_softmax import bucketed_softmax_loss, bucketed_softmax_reference
from hpgr.objectives.losses.softmax import softmax_reference


@dataclass
class Table:
    vectors: torch.Tensor
    shift: torch.Tensor | None
    sparse: bool = False

    @property
    def num_items(self):
        return len(self.vectors)

    def table(self):
        return self.vectors

    def bias(self):
        return self.shift


def parts(count: int = 9, num_items: int = 13, biased: bool = True):
    states = torch.randn(count, 4, dtype=torch.float64, requires_grad=True)
    table = torch.randn(num_items, 4, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(num_items, dtype=torch.float64, requires_grad=True) if biased else None
    return states, torch.randint(num_items, (count,)), table, bias


def gradients(loss, states, table, bias):
    return torch.autograd.grad(loss, [x for x in (states, table, bias) if x is not None])


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(("buckets", "members", "items"), [(1, 1, 1), (3, 4, 5), (6, 9, 13), (2, 3, 1)])
def test_it_is_the_loop_forward_and_backward(close, buckets, members, items, biased):
    states, target, table, bias = parts(biased=biased)
    members_KP = torch.stack([torch.randperm(9)[:members] for _ in range(buckets)])
    rows_KM = torch.stack([torch.randperm(13)[:items] for _ in range(buckets)])
    asked = states, target, table, bias, members_KP, rows_KM
    got, want = bucketed_softmax_loss(*asked), bucketed_softmax_reference(*asked)
    close(got, want)
    for a, b in zip(gradients(got, states, table, bias), gradients(want, states, table, bias)):
        close(a, b)


def test_by_hand():
    # Scores are the bias: ln 1, ln 2, ln 5. Target 0 costs ln 3 beside item 1, ln 6 beside item 2; target 2 nothing beside itself.
    bias = torch.tensor([1.0, 2.0, 5.0]).log()
    members, rows = torch.tensor([[0], [0], [1]]), torch.tensor([[1], [2], [2]])
    got = bucketed_softmax_loss(torch.zeros(3, 1), torch.tensor([0, 2, 1]), torch.zeros(3, 1), bias, members, rows)
    assert got.item() == pytest.approx(torch.tensor(6.0).log().item() / 2)


@pytest.mark.parametrize("temperature", [None, 0.5])
def test_where_every_bucket_holds_everything_it_is_the_full_softmax(close, temperature):
    states, target, table, bias = parts()
    items = Table(table, bias)
    cost = BucketedSoftmax(bucket_items=13, spread=3.0, temperature=temperature)
    got = cost.loss(states, target, items, torch_generator(1))
    want = FullSoftmax(temperature=temperature).loss(states, target, items, torch_generator(1))
    close(got, want)
    # Equal costs of one prediction share its gradient.
    for a, b in zip(gradients(got, states, table, bias), gradients(want, states, table, bias)):
        close(a, b)
    few = BucketedSoftmax(bucket_items=6, spread=3.0, temperature=temperature)
    assert few.loss(states, target, items, torch_generator(1)) < want


def test_a_bucket_takes_the_largest_dot_products_whatever_the_blocks(monkeypatch):
    states, _, table, _ = parts(count=16, num_items=50)
    cost = BucketedSoftmax(bucket_items=7, spread=1.5)
    members, rows = cost.buckets(states, Table(table, None), torch_generator(4))
    assert members.shape == (6, 6)
    centres = F.normalize(torch.randn(6, 16, generator=torch_generator(4)).double() @ states, dim=-1)
    assert torch.equal(members, (centres @ states.T).topk(6).indices)
    assert torch.equal(rows, (centres @ table.T).topk(7).indices)
    monkeypatch.setattr(bucketed_cost, "_TOGETHER", 6 * 8)
    again = cost.buckets(states, Table(table, None), torch_generator(4))
    assert torch.equal(again[0], members)
    assert torch.equal(again[1].sort().values, rows.sort().values)


def test_training_on_buckets_lowers_the_full_softmax():
    states, target, table, _ = parts(count=40, num_items=300, biased=False)
    optimiser = torch.optim.Adam([states, table], lr=0.05)
    before = softmax_reference(states, target, table).item()
    for step in range(40):
        optimiser.zero_grad()
        BucketedSoftmax(bucket_items=20).loss(states, target, Table(table, None), torch_generator(step)).backward()
        optimiser.step()
    assert softmax_reference(states, target, table).item() < before / 4
