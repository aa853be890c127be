from __future__ import annotations

import pytest
import torch
from torch import autograd

from hpgr.nn.relative_bias import RelativeBias
from hpgr.ops.attention import MaskRule, attention
from hpgr.ops.listed_attention import IMPLEMENTATIONS, listed_attention

KINDS = [("silu", 8.0), ("softmax", None)]


def _inputs(num_queries=4, num_rows=6, dtype=torch.float64):
    q = torch.randn(num_queries, 2, 3, dtype=dtype, requires_grad=True)
    k = torch.randn(num_rows, 2, 3, dtype=dtype, requires_grad=True)
    v = torch.randn(num_rows, 2, 4, dtype=dtype, requires_grad=True)
    return q, k, v


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_two_queries_by_hand(impl, close):
    q, k = torch.tensor([[[1.0]], [[1.0]]]), torch.tensor([[[1.0]], [[5.0]], [[2.0]]])
    v = torch.tensor([[[10.0]], [[1000.0]], [[100.0]]])
    rows, gate = torch.tensor([[2, -1, 0], [-1, -1, -1]]), torch.tensor([[0.5, 9.0, 1.0], [1.0, 1.0, 1.0]])
    silu = listed_attention(q, k, v, rows, gate, weights="silu", normaliser=2.0, impl=impl)
    # silu(2) = 1.7615942, silu(1) = .7310586.
    close(silu.flatten(), torch.tensor([0.5 * 1.7615942 / 2 * 100 + 0.7310586 / 2 * 10, 0.0]))
    soft = listed_attention(q, k, v, rows, gate, weights="softmax", impl=impl)
    # e^2 / 2 = 3.6945280, e = 2.7182818.
    close(soft.flatten(), torch.tensor([(3.6945280 * 100 + 2.7182818 * 10) / (3.6945280 + 2.7182818), 0.0]))


@pytest.mark.parametrize(("kind", "normaliser"), KINDS)
@pytest.mark.parametrize(("num_queries", "num_rows", "width"), [(4, 6, 5), (1, 1, 1), (3, 4, 0), (3, 0, 2), (0, 3, 2)])
def test_vectorised_matches_the_reference_forward_and_backward(kind, normaliser, num_queries, num_rows, width, close):
    q, k, v = _inputs(num_queries, num_rows)
    rows = (
        torch.randint(-1, max(num_rows, 0) or 0, (num_queries, width))
        if num_rows
        else torch.full((num_queries, width), -1)
    )
    gate = torch.rand(num_queries, width, dtype=torch.float64).requires_grad_()
    bias = RelativeBias.Config(num_positions=3).build().double()
    time_q, time_k = torch.arange(num_queries) * 9000, torch.arange(num_rows) * 7000
    leaves = [q, k, v, gate, bias.place, bias.time]
    got, want = (
        listed_attention(
            q,
            k,
            v,
            rows,
            gate,
            weights=kind,
            normaliser=normaliser,
            scale=0.6,
            bias=bias.between(time_q, time_k, torch.arange(num_queries)),
            impl=impl,
        )
        for impl in ("vectorised", "reference")
    )
    close(got, want)
    if not (rows >= 0).any():
        assert (got == 0).all()
        return
    up = torch.randn_like(want)
    for mine, theirs in zip(*(autograd.grad(out, leaves, up) for out in (got, want))):
        close(mine, theirs)


@pytest.mark.parametrize(("kind", "normaliser"), KINDS)
def test_long_lists_of_everything_are_causal_attention(kind, normaliser, close):
    """200 lists of 200 rows: more than are read at once."""
    q, k, v = _inputs(200, 200)
    listed = torch.arange(200).expand(200, 200)
    rows = listed.masked_fill(listed > torch.arange(200)[:, None], -1)
    bias = RelativeBias.Config(num_positions=50).build().double()
    time_ms = torch.arange(200) * 5000
    how = {"weights": kind, "normaliser": normaliser, "bias": bias.between(time_ms, time_ms, None)}
    got = listed_attention(q, k, v, rows, torch.ones(200, 200).double(), **how)
    close(got, attention(q, k, v, torch.tensor([0, 200]), rule=MaskRule(), **how))


def test_silu_weights_keep_how_many_events_match_and_softmax_weights_only_their_share(close):
    q, k, v = _inputs(1, 2)

    def read(times, **how):
        rows = torch.tensor([[0, 1] * times])
        return listed_attention(q, k, v, rows, torch.ones(rows.shape).double(), **how)

    close(read(20, weights="silu", normaliser=8.0), 10 * read(2, weights="silu", normaliser=8.0))
    close(read(20, weights="softmax"), read(2, weights="softmax"))


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_a_gate_of_zero_hides_a_row_from_softmax(impl, close):
    q, k, v = _inputs(dtype=torch.float32)
    rows = torch.tensor([[0, 3, 5]] * 4)
    gate = torch.tensor([[1.0, 0.0, 1.0]] * 4)
    got = listed_attention(q, k, v, rows, gate, weights="softmax", impl=impl)
    close(got, listed_attention(q, k, v, rows[:, [0, 2]], gate[:, [0, 2]], weights="softmax", impl=impl))


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_gates_of_zero_alone_leave_softmax_nothing_to_read(impl):
    q, k, v = _inputs(dtype=torch.float32)
    gate = torch.zeros(4, 2).requires_grad_()
    got = listed_attention(q, k, v, torch.tensor([[0, 3]] * 4), gate, weights="softmax", impl=impl)
    (grad,) = autograd.grad(got.sum(), gate)
    assert (got == 0).all()
    assert (grad == 0).all()


def test_lists_of_another_shape_than_their_gates_are_refused():
    q, k, v = _inputs()
    with pytest.raises(
        ValueError, match=r"rows \(4, 2\) and gate \(4, 3\) must both be \(4, W\), a list for each query"
    ):
        listed_attention(q, k, v, torch.zeros(4, 2).long(), torch.zeros(4, 3), weights="silu", normaliser=1.0)
