"""Tokens after an event: a chain by hand, the reference in every gradient, and causal attention as the special case."""

from __future__ import annotations

from math import exp, log

import pytest
import torch
from torch import autograd

from hpgr.core.errors import UnknownNameError
from hpgr.core.jagged import offsets_of
from hpgr.nn.relative_bias import RelativeBias
from hpgr.ops.attention import MaskRule, attention
from hpgr.ops.prefix_attention import IMPLEMENTATIONS, prefix_attention

KINDS = [("silu", 8.0), ("softmax", None)]
SHAPES = [([0, 1, 7], [0, 2, 3]), ([5], [4]), ([3, 0, 0, 2], [1, 0, 0, 1]), ([4, 2], [0, 0]), ([20, 2], [3, 9])]


class Case:
    """Random users, queries somewhere in their histories, and chains of three tokens."""

    def __init__(self, history, queries, num_own=3):
        events, asked = sum(history), sum(queries)

        def draw(*shape):
            return torch.randn(*shape, dtype=torch.float64, requires_grad=True)

        self.tensors = [draw(asked, 2, 3), draw(events, 2, 3), draw(events, 2, 4)]
        self.tensors += [draw(asked, num_own, 2, 3), draw(asked, num_own, 2, 4)]
        self.user_offsets, self.offsets = (offsets_of(torch.tensor(x, dtype=torch.int64)) for x in (history, queries))
        user = torch.repeat_interleave(torch.arange(len(history)), torch.tensor(queries))
        share = torch.rand(asked)
        self.stop = self.user_offsets[user] + 1 + (share * (torch.tensor(history)[user] - 1)).long()
        self.table = RelativeBias.Config(num_positions=4).build().double()
        times = torch.arange(events) * 60_000
        self.bias = self.table.between(times[self.stop - 1] + 30_000, times, self.stop)
        self.own_bias = draw(num_own)

    def run(self, **options):
        return prefix_attention(*self.tensors, self.user_offsets, self.offsets, self.stop, **options)


def test_one_query_by_hand():
    """Scores ln 1, ln 2 of the two events before it and ln 5 of its own column: values 1, 2 and 4 with weights 1, 2, 5 of 8."""
    one = torch.ones(1, 1, 1).double()
    keys = torch.tensor([1.0, 2.0, 9.0]).double().log().view(3, 1, 1)
    values = torch.tensor([1.0, 2.0, 100.0]).double().view(3, 1, 1)
    own_k, own_v = torch.tensor(5.0).double().log().view(1, 1, 1, 1), torch.full((1, 1, 1, 1), 4.0).double()
    stop, offsets = torch.tensor([2]), torch.tensor([0, 1])
    for impl in IMPLEMENTATIONS:
        tensors = (one, keys, values, own_k, own_v, torch.tensor([0, 3]), offsets, stop)
        read = prefix_attention(*tensors, weights="softmax", impl=impl)
        assert read.item() == pytest.approx((1 * 1 + 2 * 2 + 5 * 4) / 8, abs=1e-12)
        read = prefix_attention(*tensors, weights="silu", normaliser=10.0, impl=impl, own_bias_J=torch.ones(1).double())
        ln2, ln5e = log(2), log(5) + 1
        assert read.item() == pytest.approx((ln2 / (1 + 1 / 2) * 2 + ln5e / (1 + 1 / (5 * exp(1))) * 4) / 10, abs=1e-12)


@pytest.mark.parametrize(("history", "queries"), SHAPES, ids=str)
@pytest.mark.parametrize(("kind", "normaliser"), KINDS, ids=["silu", "softmax"])
def test_matches_the_reference_forward_and_backward(kind, normaliser, history, queries, close):
    case = Case(history, queries)
    for biases, leaves in (
        ({}, []),
        ({"bias": case.bias, "own_bias_J": case.own_bias}, [case.table.place, case.table.time, case.own_bias]),
    ):
        how = {"weights": kind, "normaliser": normaliser, "scale": 0.5, **biases}
        got, want = (case.run(impl=impl, **how) for impl in ("vectorised", "reference"))
        close(got, want)
        if not want.requires_grad:
            continue
        up = torch.randn_like(want)
        grads = (autograd.grad(x, [*case.tensors, *leaves], up, allow_unused=True) for x in (got, want))
        for g, w in zip(*grads):
            if w is not None:
                close(g, w)


@pytest.mark.parametrize(("kind", "normaliser"), KINDS, ids=["silu", "softmax"])
def test_a_token_after_each_event_that_is_the_next_event_is_causal_attention(kind, normaliser, close):
    """Query i with itself as its only own column, stopping before itself, is row i of causal attention."""
    lengths = [4, 0, 6]
    offsets = offsets_of(torch.tensor(lengths))
    q, k, v = (torch.randn(10, 2, 3).double() for _ in range(3))
    how = {"weights": kind, "normaliser": normaliser}
    want = attention(q, k, v, offsets, rule=MaskRule(causal=True), **how)
    close(prefix_attention(q, k, v, k[:, None], v[:, None], offsets, offsets, torch.arange(10), **how), want)


def test_shapes_and_names_are_checked():
    case = Case([5], [4])
    q, k, v, own_k, own_v = case.tensors
    rest = (case.user_offsets, case.offsets, case.stop)
    with pytest.raises(ValueError, match="own keys and values must be"):
        prefix_attention(q, k, v, own_k[:, :2], own_v, *rest, weights="softmax")
    with pytest.raises(ValueError, match="must have one row for each of the 4 queries"):
        prefix_attention(q, k, v, own_k, own_v, case.user_offsets, case.offsets, case.stop[:2], weights="softmax")
    with pytest.raises(ValueError, match="own_bias"):
        case.run(weights="softmax", own_bias_J=torch.zeros(2))
    with pytest.raises(UnknownNameError, match="no implementation is named 'fused'"):
        case.run(weights="softmax", impl="fused")
