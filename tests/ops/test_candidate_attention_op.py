from __future__ import annotations

import pytest
import torch
from torch import autograd

from hpgr.core.errors import ConfigError
from hpgr.core.jagged import offsets_of
from hpgr.nn.relative_bias import RelativeBias
from hpgr.ops.attention import MaskRule, attention
from hpgr.ops.candidate_attention import IMPLEMENTATIONS, candidate_attention

KINDS = [("silu", 8.0), ("softmax", None)]
SHAPES = [
    ([0, 1, 7], [2, 0, 3]),
    ([5], [4]),
    ([3, 0, 0, 2], [1, 2, 0, 1]),
    ([0], [2]),
    ([4, 2], [0, 0]),
    ([20, 2], [3, 9]),
]


class Case:
    """History and candidates of random users, and the users' lists of preferred events."""

    def __init__(self, history, candidates, dtype=torch.float64):
        events, asked = sum(history), sum(candidates)

        def draw(rows, width):
            return torch.randn(rows, 2, width, dtype=dtype, requires_grad=True)

        self.tensors = [draw(asked, 3), draw(events, 3), draw(events, 4), draw(asked, 3), draw(asked, 4)]
        self.user_offsets = offsets_of(torch.tensor(history, dtype=torch.int64))
        self.offsets = offsets_of(torch.tensor(candidates, dtype=torch.int64))
        user_of = torch.repeat_interleave(torch.arange(len(history)), torch.tensor(candidates))
        starts, stops = self.user_offsets[user_of][:, None], self.user_offsets[user_of + 1][:, None]
        rows = starts + torch.randperm(4) * 2
        self.rows = rows.masked_fill(rows >= stops, -1)
        self.gate = torch.rand(self.rows.shape, dtype=dtype).add(0.1).requires_grad_()
        everything = starts + torch.arange(max(history))
        self.all_rows = everything.masked_fill(everything >= stops, -1)
        self.key_time, self.query_time = torch.arange(events) * 60_000, torch.randint(0, 10, (asked,)) * 60_000
        self.bias = RelativeBias.Config(num_positions=4).build().to(dtype)
        self.query_at = self.user_offsets[1:][user_of]

    def run(self, **options):
        return candidate_attention(*self.tensors, self.user_offsets, self.offsets, **options)

    def between(self):
        return self.bias.between(self.query_time, self.key_time, self.query_at)


def _modes(case, kind):
    beta_H = torch.tensor([0.5, 2.0], dtype=torch.float64, requires_grad=True)
    times = {"key_time_T": case.key_time, "query_time_C": case.query_time}
    yield {}, []
    yield {"bias": case.between()}, [case.bias.place, case.bias.time]
    yield {"listed": (case.rows, case.gate)}, [case.gate]
    yield (
        {"listed": (case.rows, case.gate), "bias": case.between(), **times},
        [case.gate, case.bias.place, case.bias.time],
    )
    yield times, []
    if kind == "silu":
        yield {"boost": (case.rows, case.gate, beta_H)}, [case.gate, beta_H]
        yield (
            {"boost": (case.rows, case.gate, beta_H), "bias": case.between(), **times},
            [case.gate, beta_H, case.bias.time],
        )


@pytest.mark.parametrize("impl", IMPLEMENTATIONS)
def test_one_candidate_by_hand(impl, close):
    one = torch.ones(1, 1, 1)
    k, v = torch.tensor([[[1.0]], [[2.0]]]), torch.tensor([[[10.0]], [[100.0]]])
    offsets = torch.tensor([0, 2]), torch.tensor([0, 1])

    def read(**options):
        return candidate_attention(one, k, v, one, one * 1000, *offsets, impl=impl, **options).item()

    silu = {"weights": "silu", "normaliser": 1.0}
    rows, gate = torch.tensor([[1, -1]]), torch.tensor([[0.5, 1.0]])
    # silu(1) = .7310586, silu(2) = 1.7615942; the own column has key 1 and value 1000.
    assert read(**silu) == pytest.approx(7.310586 + 176.15942 + 731.0586, rel=1e-6)
    assert read(**silu, listed=(rows, gate)) == pytest.approx(0.5 * 176.15942 + 731.0586, rel=1e-6)
    boosted = 7.310586 + (1 + 3 * 0.5) * 176.15942 + 731.0586
    assert read(**silu, boost=(rows, gate, torch.tensor([3.0]))) == pytest.approx(boosted, rel=1e-6)
    times = {"key_time_T": torch.tensor([5, 6]), "query_time_C": torch.tensor([6])}
    assert read(**silu, **times) == pytest.approx(7.310586 + 731.0586, rel=1e-6)
    e, e2 = 2.7182818, 7.3890561
    assert read(weights="softmax") == pytest.approx((10 * e + 100 * e2 + 1000 * e) / (2 * e + e2), rel=1e-6)
    soft = (100 * e2 / 2 + 1000 * e) / (e2 / 2 + e)
    assert read(weights="softmax", listed=(rows, gate)) == pytest.approx(soft, rel=1e-6)


@pytest.mark.parametrize(("kind", "normaliser"), KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("chosen", ["vectorised", "fixed"])
def test_it_matches_the_reference_forward_and_backward(chosen, shape, kind, normaliser, close):
    case = Case(*shape)
    for options, more in _modes(case, kind):
        got, want = (
            case.run(weights=kind, normaliser=normaliser, scale=0.7, impl=impl, **options)
            for impl in (chosen, "reference")
        )
        close(got, want)
        if not want.numel():
            continue
        up = torch.randn_like(want)
        leaves = [*case.tensors, *more]
        for mine, theirs in zip(*(autograd.grad(out, leaves, up, materialize_grads=True) for out in (got, want))):
            close(mine, theirs)


@pytest.mark.parametrize(
    ("dtype", "kind"), [(torch.float32, "silu"), (torch.float64, "silu"), (torch.float64, "softmax")]
)
def test_a_list_of_the_whole_history_with_gate_one_is_dense_attention(dtype, kind, close):
    case = Case([7, 0, 3], [2, 1, 4], dtype)
    how = {"weights": kind, "normaliser": 8.0 if kind == "silu" else None, "bias": case.between()}
    ones = torch.ones_like(case.all_rows, dtype=dtype)
    close(case.run(**how, listed=(case.all_rows, ones)), case.run(**how))


def test_a_boost_of_zero_is_dense_and_of_one_on_everything_doubles_the_history(close):
    case = Case([7, 0, 3], [2, 1, 4])
    how = {"weights": "silu", "normaliser": 8.0}
    ones = torch.ones_like(case.all_rows, dtype=torch.float64)
    dense = case.run(**how)
    close(case.run(**how, boost=(case.rows, case.gate, torch.zeros(2).double())), dense)
    nothing = torch.full_like(case.all_rows, -1)
    own = case.run(**how, listed=(nothing, ones))
    close(case.run(**how, boost=(case.all_rows, ones, torch.ones(2).double())), 2 * dense - own)


@pytest.mark.parametrize(("kind", "normaliser"), KINDS)
def test_candidates_never_see_each_other(kind, normaliser):
    case = Case([7, 4], [3, 2])
    for options, _ in _modes(case, kind):
        out = case.run(weights=kind, normaliser=normaliser, **options)
        q, k, v, own_k, own_v = autograd.grad(out[1].sum(), case.tensors, retain_graph=True)
        for grad in (q, own_k, own_v):
            assert (grad[[0, 2, 3, 4]] == 0).all()
            assert (grad[1] != 0).any()
        assert (k[7:] == 0).all()
        assert (v[7:] == 0).all()


@pytest.mark.parametrize(("kind", "normaliser"), KINDS)
def test_a_candidate_alone_reads_what_it_reads_in_company(kind, normaliser, close):
    case = Case([7], [5])
    q, k, v, own_k, own_v = case.tensors
    how = {"weights": kind, "normaliser": normaliser}
    together = case.run(**how)
    for c in range(5):
        one = slice(c, c + 1)
        alone = candidate_attention(
            q[one], k, v, own_k[one], own_v[one], case.user_offsets, torch.tensor([0, 1]), **how
        )
        close(together[one], alone)


@pytest.mark.parametrize(("kind", "normaliser"), KINDS)
def test_a_candidate_is_the_event_that_would_come_next(kind, normaliser, close):
    case = Case([6], [1])
    q, k, v, own_k, own_v = case.tensors
    rows = [torch.cat(pair) for pair in ((torch.zeros(6, 2, 3), q), (k, own_k), (v, own_v))]
    how = {"weights": kind, "normaliser": normaliser}
    appended = attention(*rows, torch.tensor([0, 7]), rule=MaskRule(), **how)
    close(case.run(**how)[0], appended[6])


def test_options_that_exclude_each_other_are_refused():
    case = Case([4], [2])
    silu = {"weights": "silu", "normaliser": 8.0}
    lists, beta = (case.rows, case.gate), torch.ones(2)
    with pytest.raises(ConfigError, match=r"listed and boost \(both given\) must not be combined"):
        case.run(**silu, listed=lists, boost=(*lists, beta))
    with pytest.raises(ConfigError, match=r"boost \(given\) must be None with softmax weights; use silu weights"):
        case.run(weights="softmax", boost=(*lists, beta))
    with pytest.raises(ConfigError, match=r"key_time_T and query_time_C \(one given\) must be given together"):
        case.run(**silu, key_time_T=case.key_time)
    with pytest.raises(ValueError, match=r"boost beta \(3,\) must have one value a head \(2\)"):
        case.run(**silu, boost=(*lists, torch.ones(3)))
    with pytest.raises(ValueError, match=r"listed rows \(2, 4\) and gate \(2, 1\) must both be \(2, W\)"):
        case.run(**silu, listed=(case.rows, case.gate[:, :1]))
    with pytest.raises(
        ValueError, match=r"candidate_offsets \(2 users\) must have as many users as user_offsets \(1\)"
    ):
        candidate_attention(*case.tensors, case.user_offsets, torch.tensor([0, 1, 2]), **silu)
