"""The Triton kernels against the references: in the interpreter, outputs and scratch start as NaN."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, autograd

from hpgr.core.errors import UnsupportedError
from hpgr.core.jagged import offsets_of
from hpgr.nn.relative_bias import RelativeBias
from hpgr.ops.attention import MaskRule, attention
from hpgr.ops.candidate_attention import candidate_attention
from hpgr.ops.kernels import support
from hpgr.ops.kernels.cells import MANTISSA_BITS, hstu_cells, hstu_edges_ms
from hpgr.ops.listed_attention import listed_attention
from hpgr.ops.time_bucket import hstu_bucket

# The interpreter's tiles are 16 by 16.
KINDS = [("silu", 8.0), ("softmax", None)]


@pytest.fixture(autouse=True)
def _memory_starts_as_nan(monkeypatch):
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def _drawn(rows: int, heads: int, width: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(rows, heads, width).to(dtype).requires_grad_()


def _times(count: int) -> Tensor:
    """Milliseconds from seconds to months apart, in order."""
    return (10 ** (torch.rand(count) * 6 + 3)).long().cumsum(0)


def _agree(outs: tuple[Tensor, Tensor], leaves: list[Tensor], close) -> None:
    got, want = outs
    close(got, want)
    if want.grad_fn is None or not want.numel():
        return
    up = torch.randn_like(want)
    for mine, theirs in zip(*(autograd.grad(out, leaves, up, materialize_grads=True) for out in (got, want))):
        close(mine, theirs)


# A window of 2 hides whole tiles from rows of 37; groups of 8 hide the first tile from the second.
RULES = {
    "causal": (18, lambda group, time: MaskRule()),
    "all": (18, lambda group, time: MaskRule(causal=False)),
    "causal window": (37, lambda group, time: MaskRule(window=2)),
    "window": (18, lambda group, time: MaskRule(causal=False, window=4)),
    "group": (18, lambda group, time: MaskRule(causal=False, group_T=group)),
    "time": (18, lambda group, time: MaskRule(causal=False, time_T=time)),
    "every": (18, lambda group, time: MaskRule(window=17, group_T=group, time_T=time)),
}


@pytest.mark.triton
@pytest.mark.parametrize(
    ("rule", "kind"), [*((rule, "silu") for rule in RULES), ("all", "softmax"), ("every", "softmax")]
)
def test_attention_under_every_rule_in_rows_longer_than_a_tile(rule, kind, close):
    longest, shown = RULES[rule]
    count = longest + 1
    qkv = [_drawn(count, 1, width) for width in (5, 5, 3)]
    facts = torch.arange(count) // 8, torch.randint(0, 20, (count,)).sort().values
    how = {"weights": kind, "rule": shown(*facts), "normaliser": 8.0 if kind == "silu" else None}
    offsets = offsets_of(torch.tensor([0, 1, longest]))
    outs = tuple(attention(*qkv, offsets, **how, impl=impl) for impl in ("triton", "reference"))
    _agree(outs, qkv, close)


@pytest.mark.triton
@pytest.mark.parametrize(
    ("lengths", "heads", "places", "time", "kind"),
    [
        ([0, 1, 7], 2, 4, True, "silu"),
        ([0, 1, 7], 1, 4, True, "softmax"),
        ([3, 0, 0, 2], 1, None, True, "silu"),
        ([3, 0, 0, 2], 1, None, True, "softmax"),
        ([], 1, 4, True, "silu"),
        ([20], 1, 5, True, "silu"),
        ([18], 1, 30, False, "softmax"),
    ],
    ids=str,
)
def test_attention_with_the_gradient_of_its_bias(lengths, heads, places, time, kind, close):
    count = sum(lengths)
    qkv = [_drawn(count, heads, width) for width in (5, 5, 20)]
    bias = RelativeBias.Config(num_positions=places, time=time).build()
    times = _times(count)
    how = {"weights": kind, "rule": MaskRule(), "normaliser": 8.0 if kind == "silu" else None, "scale": 0.7}
    offsets = offsets_of(torch.tensor(lengths, dtype=torch.int64))
    outs = tuple(
        attention(*qkv, offsets, **how, bias=bias.between(times, times, None), impl=impl)
        for impl in ("triton", "reference")
    )
    _agree(outs, [*qkv, *bias.parameters()], close)


@pytest.mark.triton
def test_attention_of_heads_that_lie_in_one_wider_tensor(close):
    wide = torch.randn(9, 3 * 2 * 4, requires_grad=True)
    q, k, v = (part.unflatten(-1, (2, 4)) for part in wide.chunk(3, dim=-1))
    how = {"weights": "silu", "rule": MaskRule(), "normaliser": 3.0}
    outs = tuple(attention(q, k, v, torch.tensor([0, 9]), **how, impl=impl) for impl in ("triton", "reference"))
    _agree(outs, [wide], close)


@pytest.mark.triton
@pytest.mark.parametrize(("kind", "normaliser"), KINDS)
def test_attention_in_sixteen_bits_is_near_the_reference_in_full(kind, normaliser, close):
    half = [_drawn(18, 1, 8, torch.bfloat16) for _ in range(3)]
    full = [x.detach().float().requires_grad_() for x in half]
    how = {"weights": kind, "rule": MaskRule(), "normaliser": normaliser, "scale": 0.3}
    offsets, up = torch.tensor([0, 18]), torch.randn(18, 1, 8).bfloat16()
    got = attention(*half, offsets, **how, impl="triton")
    want = attention(*full, offsets, **how, impl="reference")
    assert got.dtype == torch.bfloat16
    close(got, want.bfloat16())
    for mine, theirs in zip(autograd.grad(got, half, up), autograd.grad(want, full, up.float())):
        close(mine, theirs.bfloat16())


class Case:
    """History, candidates and lists of random users, in float32."""

    def __init__(self, history: list[int], candidates: list[int], list_width: int = 5) -> None:
        events, asked = sum(history), sum(candidates)
        sizes = ((asked, 5), (events, 5), (events, 3), (asked, 5), (asked, 3))
        self.tensors = [_drawn(rows, 2, width) for rows, width in sizes]
        self.offsets = [offsets_of(torch.tensor(x, dtype=torch.int64)) for x in (history, candidates)]
        user_of = torch.repeat_interleave(torch.arange(len(history)), torch.tensor(candidates))
        start, stop = (self.offsets[0][user_of + end][:, None] for end in (0, 1))
        rows = start + torch.rand(asked, list_width).argsort(1) * 2
        self.rows = rows.masked_fill(rows >= stop, -1)
        self.gate = torch.rand(asked, list_width).add(0.1).requires_grad_()
        self.beta = torch.tensor([0.5, 2.0], requires_grad=True)
        times = _times(events)
        self.when = (
            {"key_time_T": times, "query_time_C": times.flip(0)[torch.arange(asked) % max(events, 1)]} if events else {}
        )
        query_time = torch.full((asked,), 10**9)
        self.bias = RelativeBias.Config(num_positions=4).build()
        self.between = self.bias.between(query_time, times, self.offsets[0][1:][user_of])

    def agree(self, options: dict, more: list[Tensor], close, **how) -> None:
        outs = tuple(
            candidate_attention(*self.tensors, *self.offsets, **how, **options, scale=0.7, impl=impl)
            for impl in ("triton", "reference")
        )
        _agree(outs, [*self.tensors, *more], close)


@pytest.mark.triton
@pytest.mark.parametrize(("kind", "normaliser"), KINDS)
@pytest.mark.parametrize(
    ("history", "candidates"),
    [([0, 1, 7], [2, 0, 3]), ([3, 0, 0, 2], [1, 0, 0, 0]), ([0], [2]), ([4, 2], [0, 0]), ([18], [17])],
    ids=str,
)
def test_candidates_read_everything(history, candidates, kind, normaliser, close):
    case = Case(history, candidates)
    how = {"weights": kind, "normaliser": normaliser}
    case.agree({"bias": case.between, **case.when}, list(case.bias.parameters()), close, **how)


@pytest.mark.triton
@pytest.mark.parametrize(("kind", "normaliser"), KINDS)
@pytest.mark.parametrize(
    ("history", "candidates", "width"), [([0, 7], [1, 2], 5), ([40], [1], 20), ([4], [1], 0)], ids=str
)
def test_candidates_read_lists(history, candidates, width, kind, normaliser, close):
    case = Case(history, candidates, width)
    options = {"listed": (case.rows, case.gate), "bias": case.between, **case.when}
    case.agree(options, [case.gate, *case.bias.parameters()], close, weights=kind, normaliser=normaliser)


@pytest.mark.triton
def test_candidates_read_everything_and_lists_more(close):
    case = Case([0, 7], [1, 2])
    options = {"boost": (case.rows, case.gate, case.beta), "bias": case.between, **case.when}
    more = [case.gate, case.beta, *case.bias.parameters()]
    case.agree(options, more, close, weights="silu", normaliser=8.0)


@pytest.mark.triton
@pytest.mark.parametrize(("kind", "normaliser"), KINDS)
@pytest.mark.parametrize(
    ("num_queries", "num_rows", "width"), [(3, 6, 5), (1, 40, 18), (3, 4, 0), (3, 0, 2), (0, 3, 2)]
)
def test_queries_read_lists(num_queries, num_rows, width, kind, normaliser, close):
    q, k, v = _drawn(num_queries, 2, 3), _drawn(num_rows, 2, 3), _drawn(num_rows, 2, 20)
    rows = torch.randint(-1, max(num_rows, 1), (num_queries, width)) if num_rows else torch.full((3, 2), -1)
    gate = torch.rand(num_queries, width).requires_grad_()
    bias = RelativeBias.Config(num_positions=3).build()
    between = bias.between(_times(num_queries), _times(num_rows), torch.arange(num_queries))
    how = {"weights": kind, "normaliser": normaliser, "scale": 0.6, "bias": between}
    outs = tuple(listed_attention(q, k, v, rows, gate, **how, impl=impl) for impl in ("triton", "reference"))
    _agree(outs, [q, k, v, gate, *bias.parameters()], close)


@pytest.mark.triton
def test_lists_that_neighbours_share_are_read_as_their_union(monkeypatch, close):
    monkeypatch.setattr("hpgr.ops.listed_attention.triton._MANY", 1)
    from hpgr.ops.kernels.union import SIZE, Union

    count = SIZE + 5
    q, k, v = _drawn(count, 2, 5), _drawn(count, 2, 5), _drawn(count, 2, 20)
    back = torch.arange(count)[:, None] - torch.tensor([0, 1, 1, 4, 9])
    rows, gate = back.clamp(min=-1), torch.rand(count, 5)
    rows[3] = -1
    union = Union.of(rows, gate)
    assert union is not None
    assert union.sizes.tolist() == [SIZE, 14]
    how = {"weights": "silu", "normaliser": 8.0, "scale": 0.6}
    outs = tuple(listed_attention(q, k, v, rows, gate, **how, impl=impl) for impl in ("triton", "reference"))
    assert "Union" in outs[0].grad_fn.name()
    _agree(outs, [q, k, v], close)


@pytest.mark.triton
def test_a_union_is_remembered_only_for_the_very_lists_unchanged():
    from hpgr.ops.kernels.union import Union

    rows, gate = torch.tensor([[0, 1], [0, 1]]), torch.ones(2, 2)
    first = Union.known(rows, gate)
    assert Union.known(rows, gate) is first
    assert Union.known(rows, gate.clone()) is not first
    again = Union.known(rows, gate)
    rows[0, 0] = 1
    assert Union.known(rows, gate) is not again
    assert Union.known(rows, gate).gates[0].tolist() == [0.0, 2.0, 0.0]


@pytest.mark.triton
def test_lists_with_nothing_in_common_have_no_union():
    from hpgr.ops.kernels.union import SIZE, Union

    assert Union.of(torch.arange(SIZE * 3).view(SIZE, 3), torch.ones(SIZE, 3)) is None
    assert Union.of(torch.full((4, 3), -1), torch.ones(4, 3)) is None


def test_cells_give_the_bucket_of_every_duration():
    edges = hstu_edges_ms()
    reached = edges[edges < torch.iinfo(torch.int64).max]
    powers = 2 ** torch.arange(62)
    odd = torch.randint(0, 2**62, (20_000,)) >> torch.randint(0, 62, (20_000,))
    delta = torch.cat([reached, reached - 1, powers, powers - 1, powers + 1, odd, torch.tensor([0])])
    base, edge = hstu_cells(torch.device("cpu"))
    bits = delta.float().view(torch.int32) >> (23 - MANTISSA_BITS)
    cell = (bits - (127 << MANTISSA_BITS)).clamp(min=0).long()
    assert torch.equal(base[cell].long() + (delta >= edge[cell]), hstu_bucket(delta.double() / 1000))


def test_what_cannot_run_is_refused_with_the_remedy(monkeypatch):
    q = torch.zeros(1, 1, 1)
    with pytest.raises(
        UnsupportedError, match=r"q \(torch.float64\) must be float32, bfloat16 or .* impl='vectorised'"
    ):
        support.check_runnable(q.double(), None)
    with pytest.raises(UnsupportedError, match=r"bias \(SimpleNamespace\) must be tables .* use impl='vectorised'"):
        support.check_runnable(q, SimpleNamespace())
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    with pytest.raises(
        UnsupportedError, match=r"impl \('triton'\) must be given tensors on a CUDA device, not cpu; move"
    ):
        attention(q, q, q, torch.tensor([0, 1]), weights="softmax", rule=MaskRule(), impl="triton")
    monkeypatch.setattr(support, "installed", lambda: False)
    with pytest.raises(UnsupportedError, match=r"triton \(not installed\) must be there .*; pip install 'hpgr\[gpu\]'"):
        attention(q, q, q, torch.tensor([0, 1]), weights="softmax", rule=MaskRule(), impl="triton")


def test_auto_takes_triton_on_cuda_only_where_it_would_not_be_refused(monkeypatch):
    monkeypatch.setattr(support, "installed", lambda: True)
    monkeypatch.setenv("HPGR_TRITON", "1")
    on_cuda = SimpleNamespace(is_cuda=True, dtype=torch.bfloat16)
    assert support.chooses_triton(on_cuda, None)
    assert support.chooses_triton(on_cuda, RelativeBias.Config().build().between(torch.ones(1), torch.ones(1), None))
    assert not support.chooses_triton(on_cuda, SimpleNamespace())
    assert not support.chooses_triton(SimpleNamespace(is_cuda=True, dtype=torch.float64), None)
    assert not support.chooses_triton(torch.zeros(1), None)
    monkeypatch.setenv("HPGR_TRITON", "0")
    assert not support.chooses_triton(on_cuda, None)
    monkeypatch.setenv("HPGR_TRITON", "1")
    monkeypatch.setattr(support, "installed", lambda: False)
    assert not support.chooses_triton(on_cuda, None)


def test_triton_is_not_imported_before_it_is_asked_for():
    code = "import sys, hpgr, hpgr.ops.attention, hpgr.ops.listed_attention, hpgr.ops.candidate_attention; print('triton' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert out.strip() == "False"
