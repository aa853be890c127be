from __future__ import annotations

import pytest
import torch
from torch import Tensor, autograd

from hpgr.core.errors import ConfigError, UnknownNameError, UnsupportedError
from hpgr.core.jagged import offsets_of
from hpgr.nn.relative_bias import RelativeBias
from hpgr.ops.attention import IMPLEMENTATIONS, MaskRule, attention, implementation_for
from hpgr.ops.attention.blocked import BlockSizes, attention_blocked
from hpgr.ops.weighing import Kind, Weighing

LENGTHS = [[0, 1, 7], [5], [3, 0, 0, 2], [], [20, 3, 9]]
GENERAL = ["reference", "vectorised", "blocked"]
# The usual blocks, one that parts keys, and one that holds several rows.
SIZES = [
    None,
    BlockSizes(queries=4, numbers=64, run=2),
    BlockSizes(queries=8, numbers=4096, run=4),
]
KINDS: list[tuple[Kind, float | None]] = [("silu", 8.0), ("softmax", None)]


def _inputs(lengths: list[int], dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    count = sum(lengths)
    q, k = (torch.randn(count, 2, 3, dtype=dtype, requires_grad=True) for _ in range(2))
    v = torch.randn(count, 2, 4, dtype=dtype, requires_grad=True)
    return q, k, v, offsets_of(torch.tensor(lengths, dtype=torch.int64))


def _rules(count: int) -> list[MaskRule]:
    facts = torch.Generator().manual_seed(1)
    group_T = torch.randint(0, 2, (count,), generator=facts)
    time_T = torch.randint(0, 4, (count,), generator=facts)
    return [
        MaskRule(),
        MaskRule(causal=False),
        MaskRule(window=2),
        MaskRule(causal=False, window=2),
        MaskRule(causal=False, group_T=group_T),
        MaskRule(causal=False, time_T=time_T),
        MaskRule(window=3, group_T=group_T, time_T=time_T),
    ]


@pytest.mark.parametrize("impl", GENERAL)
def test_two_events_by_hand(impl, close):
    q, k = torch.tensor([[[1.0]], [[2.0]]]), torch.tensor([[[1.0]], [[-1.0]]])
    v = torch.tensor([[[10.0, 1.0]], [[100.0, 2.0]]])
    offsets = torch.tensor([0, 2])
    silu = attention(q, k, v, offsets, weights="silu", rule=MaskRule(), normaliser=4.0, impl=impl)
    # silu(1) = .7310586, silu(2) = 1.7615942, silu(-2) = -.2384058, each divided by 4.
    close(silu[0, 0], torch.tensor([1.8276464, 0.1827646]))
    close(silu[1, 0], torch.tensor([4.4039854 - 5.9601460, 0.4403985 - 0.1192029]))
    soft = attention(q, k, v, offsets, weights="softmax", rule=MaskRule(), scale=0.5, impl=impl)
    # softmax of (1, -1) = (.8807971, .1192029).
    close(soft[0, 0], torch.tensor([10.0, 1.0]))
    close(soft[1, 0], torch.tensor([8.807971 + 11.920292, 0.8807971 + 0.2384058]))


@pytest.mark.parametrize("impl", GENERAL)
def test_rules_by_hand(impl, close):
    """With q = 0, softmax weights are the mean over what is visible."""
    q = torch.zeros(4, 1, 1)
    v = torch.tensor([1.0, 10.0, 100.0, 1000.0])[:, None, None]

    def seen(rule):
        return attention(q, q, v, torch.tensor([0, 4]), weights="softmax", rule=rule, impl=impl).flatten()

    close(seen(MaskRule()), torch.tensor([1.0, 5.5, 37.0, 277.75]))
    close(seen(MaskRule(causal=False)), torch.full((4,), 277.75))
    close(seen(MaskRule(window=2)), torch.tensor([1.0, 5.5, 55.0, 550.0]))
    close(seen(MaskRule(causal=False, window=2)), torch.tensor([5.5, 37.0, 370.0, 550.0]))
    close(seen(MaskRule(causal=False, group_T=torch.tensor([7, 7, 8, 7]))), torch.tensor([337.0, 337.0, 100.0, 337.0]))
    close(seen(MaskRule(causal=False, time_T=torch.tensor([3, 3, 1, 5]))), torch.tensor([50.5, 55.0, 100.0, 277.75]))


@pytest.mark.parametrize(("kind", "normaliser"), KINDS)
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("mine", ["vectorised", "fixed"])
def test_it_matches_the_reference_forward_and_backward(mine, lengths, kind, normaliser, close):
    *qkv, offsets = _inputs(lengths)
    time_ms = torch.arange(sum(lengths)) * 70_000
    bias = RelativeBias.Config(num_positions=4).build().double()
    leaves = [*qkv, bias.place, bias.time]
    for rule in _rules(sum(lengths)):
        got, want = (
            attention(
                *qkv,
                offsets,
                weights=kind,
                rule=rule,
                normaliser=normaliser,
                scale=0.7,
                bias=bias.between(time_ms, time_ms, None),
                impl=impl,
            )
            for impl in (mine, "reference")
        )
        close(got, want)
        if not sum(lengths):
            continue
        up = torch.randn_like(want)
        for one, other in zip(*(autograd.grad(out, leaves, up) for out in (got, want))):
            close(one, other)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize(("kind", "normaliser"), KINDS)
@pytest.mark.parametrize("lengths", [*LENGTHS, [33, 40, 38]], ids=str)
def test_blocks_match_the_vectorised_path_forward_and_backward(lengths, kind, normaliser, sizes, close):
    """The vectorised path is held to the reference above; it is fast enough to try every rule with every bias."""
    *qkv, offsets = _inputs(lengths)
    count = sum(lengths)
    time_ms = (torch.rand(count, dtype=torch.float64) * 30).exp().long()
    for bias in (None, {"num_positions": 4}, {"num_positions": None}, {"num_positions": 4, "time": False}):
        tables = None if bias is None else RelativeBias.Config(**bias).build().double()
        leaves = [*qkv, *(tables.parameters() if tables is not None else ())]
        for rule in _rules(count):
            weighing = Weighing(
                kind=kind,
                normaliser=normaliser,
                scale=0.7,
                bias=None if tables is None else tables.between(time_ms, time_ms, None),
            )
            got = attention_blocked(*qkv, offsets, rule, weighing, sizes)
            want = IMPLEMENTATIONS["vectorised"](*qkv, offsets, rule, weighing)
            close(got, want)
            if not count:
                continue
            up = torch.randn_like(want)
            for mine, theirs in zip(*(autograd.grad(out, leaves, up) for out in (got, want))):
                close(mine, theirs)


@pytest.mark.parametrize("lengths", [*LENGTHS, [150, 40, 38]], ids=str)
def test_the_fused_kernel_matches_the_vectorised_path_forward_and_backward(lengths, close):
    q, k, _, offsets = _inputs(lengths)
    v = torch.randn_like(k, requires_grad=True)
    how = {"weights": "softmax", "rule": MaskRule(), "scale": 0.7}
    got, want = (attention(q, k, v, offsets, impl=impl, **how) for impl in ("fused", "vectorised"))
    close(got, want)
    if sum(lengths):
        up = torch.randn_like(want)
        for mine, theirs in zip(*(autograd.grad(out, (q, k, v), up) for out in (got, want))):
            close(mine, theirs)


def test_rows_of_several_usual_blocks_match(close):
    *qkv, offsets = _inputs([300, 10, 140])
    group_T = torch.arange(450) // 90
    for rule in (MaskRule(), MaskRule(window=70), MaskRule(causal=False, group_T=group_T)):
        how = {"weights": "silu", "rule": rule, "normaliser": 8.0}
        got, want = (attention(*qkv, offsets, impl=impl, **how) for impl in ("blocked", "vectorised"))
        close(got, want)
        up = torch.randn_like(want)
        for mine, theirs in zip(*(autograd.grad(out, qkv, up) for out in (got, want))):
            close(mine, theirs)


def test_queries_may_stand_elsewhere_than_their_keys(close):
    *qkv, offsets = _inputs([9, 4])
    time_ms = torch.arange(13) * 70_000
    tables = RelativeBias.Config(num_positions=4).build().double()
    bias = tables.between(time_ms + 5_000, time_ms, torch.randint(0, 13, (13,)))
    how = {"weights": "silu", "rule": MaskRule(), "normaliser": 8.0, "bias": bias}
    got, want = (attention(*qkv, offsets, impl=impl, **how) for impl in ("blocked", "vectorised"))
    close(got, want)
    up, leaves = torch.randn_like(want), [*qkv, tables.place, tables.time]
    for mine, theirs in zip(*(autograd.grad(out, leaves, up) for out in (got, want))):
        close(mine, theirs)


def test_layers_that_share_pairs_have_their_own_tables(close):
    *qkv, offsets = _inputs([9, 4, 9])
    time_ms = torch.arange(22) * 70_000
    first, second = (RelativeBias.Config(num_positions=4).build().double() for _ in range(2))
    shared = first.between(time_ms, time_ms, None)
    how = {"weights": "silu", "rule": MaskRule(), "normaliser": 8.0}
    attention(*qkv, offsets, bias=shared, impl="blocked", **how)
    assert shared.memory
    got = attention(*qkv, offsets, bias=second.on(shared), impl="blocked", **how)
    want = attention(*qkv, offsets, bias=second.between(time_ms, time_ms, None), impl="reference", **how)
    close(got, want)
    for mine, theirs in zip(*(autograd.grad(out.sum(), [second.place, second.time]) for out in (got, want))):
        close(mine, theirs)


def test_hidden_keys_are_not_even_computed():
    """A number that would spoil every product with it is not touched outside its session and window."""
    *qkv, offsets = _inputs([512], torch.float32)
    k = qkv[1].detach().clone()
    k[:256] = torch.nan
    for rule in (MaskRule(causal=False, group_T=torch.arange(512) // 256), MaskRule(window=64)):
        out = attention(qkv[0], k, qkv[2], offsets, weights="silu", rule=rule, normaliser=8.0, impl="blocked")
        assert out[384:].isfinite().all()
        assert out[:64].isnan().all()


def test_auto_tells_what_it_runs():
    q, k, v, _ = _inputs([2, 3])
    bias = RelativeBias.Config().build().between(torch.zeros(5), torch.zeros(5), None)

    class Plain:
        def of(self, query_rows, key_rows):
            return (query_rows - key_rows).double()

        own = None

    def ask(v, weights, rule=MaskRule(), bias=None):  # noqa: B008 - frozen
        return implementation_for(q, v, weights=weights, rule=rule, bias=bias)

    assert ask(k, "softmax") == "fused"
    assert ask(v, "softmax") == ask(k, "silu") == ask(k, "softmax", bias=bias) == "blocked"
    assert ask(k, "softmax", MaskRule(causal=False)) == ask(k, "softmax", MaskRule(window=3)) == "blocked"
    assert ask(k, "silu", bias=Plain()) == "vectorised"


@pytest.mark.parametrize(("kind", "normaliser"), KINDS)
def test_single_precision_matches_the_reference(kind, normaliser, close):
    *qkv, offsets = _inputs([3, 0, 12], torch.float32)
    got, want = (
        attention(*qkv, offsets, weights=kind, rule=MaskRule(), normaliser=normaliser, impl=impl)
        for impl in ("auto", "reference")
    )
    close(got, want)


@pytest.mark.parametrize(("kind", "normaliser"), KINDS)
def test_a_row_does_not_depend_on_its_neighbours(kind, normaliser, close):
    *qkv, offsets = _inputs([6, 300, 2])
    together = attention(*qkv, offsets, weights=kind, rule=MaskRule(), normaliser=normaliser)
    alone = attention(*(x[:6] for x in qkv), torch.tensor([0, 6]), weights=kind, rule=MaskRule(), normaliser=normaliser)
    close(together[:6], alone)


@pytest.mark.parametrize(("kind", "normaliser"), KINDS)
def test_the_gradient_to_the_future_and_to_other_rows_is_exactly_zero(kind, normaliser):
    *qkv, offsets = _inputs([6, 4])
    out = attention(*qkv, offsets, weights=kind, rule=MaskRule(), normaliser=normaliser)
    for grad in autograd.grad(out[3].sum(), qkv):
        assert (grad[4:] == 0).all()
    for grad in autograd.grad(
        attention(*qkv, offsets, weights=kind, rule=MaskRule(), normaliser=normaliser)[3].sum(), qkv[1:]
    ):
        assert (grad[:4] != 0).all()


def test_bad_input_is_named():
    q, k, v, offsets = _inputs([2, 3])

    def run(**change):
        options = {"weights": "silu", "rule": MaskRule(), "normaliser": 5.0} | change
        return attention(q, k, v, offsets, **options)

    with pytest.raises(ValueError, match=r"q, k and v must agree in heads.*\(4, 2, 3\), \(5, 2, 3\) and \(5, 2, 4\)"):
        attention(q[:4], k, v, offsets, weights="silu", rule=MaskRule(), normaliser=5.0)
    with pytest.raises(ValueError, match=r"offsets \(ending at 2\) must be one row of offsets that ends .* 5"):
        attention(q, k, v, offsets[:2], weights="silu", rule=MaskRule(), normaliser=5.0)
    with pytest.raises(ConfigError, match=r"normaliser \(None\) must be a positive constant with silu weights"):
        run(normaliser=None)
    with pytest.raises(ConfigError, match=r"normaliser \(5.0\) must be None with softmax weights"):
        run(weights="softmax")
    with pytest.raises(UnknownNameError, match=r"no kind of weights is named 'softmx'; did you mean softmax"):
        run(weights="softmx")
    with pytest.raises(UnknownNameError, match=r"no implementation is named 'tritn'; did you mean triton"):
        run(impl="tritn")
    with pytest.raises(UnsupportedError, match=r"impl \(fused\) must be asked for causal softmax without window"):
        run(impl="fused")
    with pytest.raises(UnsupportedError, match=r"bias \(object\) must tell its tables for impl blocked; use vect"):
        run(impl="blocked", bias=object())
    with pytest.raises(ConfigError, match=r"window \(0\) must be at least 1"):
        MaskRule(window=0)
    with pytest.raises(ValueError, match=r"group_T \(3,\) must have one value for each of the 5 events"):
        run(rule=MaskRule(group_T=torch.zeros(3)))
