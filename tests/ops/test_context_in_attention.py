"""Biases that read the scores themselves, in the attention ops: contextual positions, with both kinds of weights."""

from __future__ import annotations

import pytest
import torch
from torch import autograd

from hpgr.core.errors import UnsupportedError
from hpgr.core.jagged import offsets_of
from hpgr.nn.contextual_position import ContextualPosition
from hpgr.nn.relative_bias import RelativeBias
from hpgr.ops.attention import MaskRule, attention, implementation_for
from hpgr.ops.candidate_attention import candidate_attention

KINDS = [("silu", 8.0), ("softmax", None)]


def context(num_positions=4):
    module = ContextualPosition.Config(num_positions=num_positions, dim=5).build(head_dim=3).double()
    torch.nn.init.normal_(module.place_PD)
    return module


def drawn(*shapes):
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


def agree(got, want, leaves, close):
    close(got, want)
    up = torch.randn_like(want)
    grads = (autograd.grad(out, leaves, up, allow_unused=True, materialize_grads=True) for out in (got, want))
    for mine, theirs in zip(*grads):
        close(mine, theirs)


@pytest.mark.parametrize("lengths", [[0, 1, 7], [5], [20, 3, 9]], ids=str)
@pytest.mark.parametrize(("weights", "normaliser"), KINDS)
@pytest.mark.parametrize("mine", ["vectorised", "fixed"])
def test_events_are_those_of_the_reference(mine, lengths, weights, normaliser, close):
    count = sum(lengths)
    q, k, v = drawn((count, 2, 3), (count, 2, 3), (count, 2, 4))
    offsets, time_ms = offsets_of(torch.tensor(lengths)), torch.arange(count) * 60_000
    module, table = context(), RelativeBias.Config(num_positions=4).build().double()
    bias = table.between(time_ms, time_ms, None)
    for rule in (MaskRule(), MaskRule(causal=False, window=3), MaskRule(time_T=time_ms // 180_000)):
        got, want = (
            attention(
                q,
                k,
                v,
                offsets,
                weights=weights,
                normaliser=normaliser,
                rule=rule,
                bias=bias,
                context=module,
                impl=impl,
            )
            for impl in (mine, "reference")
        )
        agree(got, want, [q, k, v, table.place, *module.parameters()], close)


@pytest.mark.parametrize(
    ("history", "asked"), [([0, 1, 7], [2, 0, 3]), ([5], [4]), ([0], [2]), ([20, 2], [3, 9])], ids=str
)
@pytest.mark.parametrize(
    ("weights", "normaliser", "mode"),
    [(*kind, mode) for kind in KINDS for mode in ("all", "times", "listed")] + [(*KINDS[0], "boost")],
)
@pytest.mark.parametrize("mine", ["vectorised", "fixed"])
def test_candidates_are_those_of_the_reference(mine, history, asked, weights, normaliser, mode, close):
    events, count = sum(history), sum(asked)
    tensors = drawn((count, 2, 3), (events, 2, 3), (events, 2, 4), (count, 2, 3), (count, 2, 4))
    users, offsets = offsets_of(torch.tensor(history)), offsets_of(torch.tensor(asked))
    start_C = users[torch.repeat_interleave(torch.arange(len(asked)), torch.tensor(asked))]
    stop_C = users[torch.repeat_interleave(torch.arange(1, len(asked) + 1), torch.tensor(asked))]
    rows = start_C[:, None] + torch.tensor([0, 2, 3, 6])
    rows = rows.masked_fill(rows >= stop_C[:, None], -1)
    gate = torch.rand(rows.shape, dtype=torch.float64).add(0.1).requires_grad_()
    beta = torch.tensor([0.5, 2.0], dtype=torch.float64, requires_grad=True)
    options, extra = {
        "all": ({}, []),
        "times": ({"key_time_T": torch.arange(events), "query_time_C": torch.randint(0, 9, (count,))}, []),
        "listed": ({"listed": (rows, gate)}, [gate]),
        "boost": ({"boost": (rows, gate, beta)}, [gate, beta]),
    }[mode]
    module = context()
    got, want = (
        candidate_attention(
            *tensors, users, offsets, weights=weights, normaliser=normaliser, context=module, impl=impl, **options
        )
        for impl in (mine, "reference")
    )
    agree(got, want, [*tensors, *extra, *module.parameters()], close)


@pytest.mark.parametrize(("weights", "normaliser"), KINDS)
def test_a_candidate_reads_as_an_event_that_comes_next(weights, normaliser, close):
    q, k, v = drawn((7, 2, 3), (7, 2, 3), (7, 2, 4))
    how = {"weights": weights, "normaliser": normaliser, "context": context()}
    whole = attention(q, k, v, torch.tensor([0, 7]), rule=MaskRule(), **how)
    alone = candidate_attention(q[6:], k[:6], v[:6], k[6:], v[6:], torch.tensor([0, 6]), torch.tensor([0, 1]), **how)
    close(alone, whole[6:])


@pytest.mark.parametrize(("weights", "normaliser"), KINDS)
def test_a_table_of_zeros_adds_nothing_to_the_last_bit_and_learns(weights, normaliser):
    q, k, v = drawn((9, 2, 3), (9, 2, 3), (9, 2, 4))
    module = ContextualPosition.Config(num_positions=4).build(head_dim=3).double()
    how = {"weights": weights, "normaliser": normaliser, "rule": MaskRule(), "impl": "vectorised"}
    offsets = torch.tensor([0, 2, 9])
    with_it = attention(q, k, v, offsets, context=module, **how)
    assert torch.equal(with_it, attention(q, k, v, offsets, **how))
    (grad,) = autograd.grad(with_it.square().sum(), module.place_PD)
    assert (grad != 0).any(1).all()


def test_what_never_holds_all_scores_is_refused_by_name_and_not_chosen():
    q, offsets, module = torch.randn(3, 1, 3), torch.tensor([0, 3]), context().float()
    for impl in ("blocked", "fused", "triton"):
        with pytest.raises(
            UnsupportedError, match=rf"context \(ContextualPosition\) must be None for impl {impl}, which"
        ):
            attention(q, q, q, offsets, weights="softmax", rule=MaskRule(), context=module, impl=impl)
    chosen = {"weights": "softmax", "rule": MaskRule(), "bias": None}
    assert implementation_for(q, q, **chosen) == "fused"
    assert implementation_for(q, q, **chosen, context=module) == "vectorised"
    with pytest.raises(UnsupportedError, match="must be None for impl triton"):
        candidate_attention(
            q, q, q, q, q, offsets, offsets, weights="silu", normaliser=2.0, context=module, impl="triton"
        )
