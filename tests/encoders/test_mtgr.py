"""The mask, the packing and the isolation of MTGR's encoder (its card, 1, 2 and 4), in float64."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from hpgr.core.batch import Candidates, History
from hpgr.core.errors import ConfigError, DataError
from hpgr.core.jagged import Jagged, offsets_of
from hpgr.core.seeds import torch_generator
from hpgr.encoders import Signal
from hpgr.encoders.mtgr import MtgrEncoder
from hpgr.encoders.mtgr_tokens import ALWAYS, Domain, MtgrTrunk, Packing
from hpgr.nn.feed_forward import FeedForward
from hpgr.nn.mtgr_layer import MtgrLayer
from hpgr.nn.request_tokens import RequestTokens

DIM = 8
DAY_MS = 86_400_000
NOW_MS = 20 * DAY_MS
MLP = FeedForward.Config(hidden_dim=12)
REQUEST = RequestTokens.Config()


@pytest.fixture(autouse=True)
def double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def encoder(*, seed=1, normaliser=5.0, eps=1e-6, num_layers=2, request=REQUEST, **options) -> MtgrEncoder:
    layer = MtgrLayer.Config(mlp=MLP, normaliser=normaliser, eps=eps)
    config = MtgrEncoder.Config(layer=layer, num_layers=num_layers, request=request, **options)
    torch.manual_seed(seed)
    module = config.build(dim=DIM).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
    return module


def histories(*before_now_ms: list[int]) -> History:
    """Users whose events were so many milliseconds before now."""
    times = [[NOW_MS - ms for ms in row] for row in before_now_ms]
    return History.from_lists([[0] * len(row) for row in times], times_ms=times, now_ms=[NOW_MS] * len(times))


def candidates_at(*before_now_ms: list[int]) -> Candidates:
    flat = torch.tensor([NOW_MS - ms for row in before_now_ms for ms in row], dtype=torch.int64)
    return Candidates(
        item_idx=torch.zeros_like(flat),
        time_ms=flat,
        offsets=offsets_of(torch.tensor([len(row) for row in before_now_ms])),
        features=torch.zeros(len(flat), 0),
    )


def picked(candidates: Candidates, which: list[int]) -> Candidates:
    """Some of the candidates, users in their order."""
    num_users = len(candidates.offsets) - 1
    return replace(
        candidates,
        item_idx=candidates.item_idx[which],
        time_ms=candidates.time_ms[which],
        offsets=offsets_of(torch.bincount(candidates.user_of_candidate()[which], minlength=num_users)),
    )


def states(module, x, y, history, candidates):
    """States of candidates with vectors ``y``, from event tokens ``x``."""
    none = Signal(history_TD=x, candidates_CD=y, cold_C=candidates.time_ms < 0)
    return module(history.jagged(x), Jagged(y, candidates.offsets), history, candidates, none)


def remembered(module, x, history):
    none = Signal(history_TD=x, candidates_CD=x[:0], cold_C=torch.zeros(0, dtype=torch.bool))
    return module.remember(history.jagged(x), history, none)


def reads(module, history, candidates) -> torch.Tensor:
    """``[T+C, T+C]`` bool: whose value moves each event's second keys and each candidate's state at all."""
    x, y = (torch.randn(n, DIM, requires_grad=True) for n in (history.num_events, candidates.num_candidates))
    memory = remembered(module, x, history)
    outputs = [*memory.keys[1][memory.packing.event_rows], *states(module, x, y, history, candidates)]
    rows = []
    for output in outputs:
        grads = torch.autograd.grad(output.sum(), [x, y], retain_graph=True, materialize_grads=True)
        rows.append(torch.cat([(grad != 0).any(1) for grad in grads]))
    return torch.stack(rows)


def test_the_articles_five_tokens_have_the_articles_mask():
    """Two real-time events, the second later; targets after both, between them, and before both."""
    mask = reads(encoder(), histories([2000, 1000]), candidates_at([500, 1500, 2500]))
    assert mask.int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 0, 0, 1, 0],
        [0, 0, 0, 0, 1],
    ]


def test_equal_times_do_not_see_each_other():
    mask = reads(encoder(), histories([2000, 1000, 1000]), candidates_at([1000, 999, 2000]))
    assert mask.int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 0, 1, 0, 0, 0],
        [1, 0, 0, 1, 0, 0],
        [1, 1, 1, 0, 1, 0],
        [0, 0, 0, 0, 0, 1],
    ]


def test_static_events_read_each_other_and_nothing_real_time():
    """The window begins one day before now: an event at its border is real-time, one a millisecond older is static."""
    module = encoder()
    mask = reads(module, histories([3 * DAY_MS, DAY_MS + 1, DAY_MS, 5]), candidates_at([DAY_MS, 0]))
    assert mask.int().tolist() == [
        [1, 1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 1, 0],
        [1, 1, 1, 1, 0, 1],
    ]
    everything = reads(encoder(dynamic_mask=False), histories([3 * DAY_MS, DAY_MS, 5]), candidates_at([2 * DAY_MS]))
    assert everything[:, :3].all()


def test_tokens_stand_as_packed():
    history = histories([DAY_MS + 5, 7], [], [3])
    packing = Packing.of(history, 2, history.now_ms - DAY_MS)
    assert packing.offsets.tolist() == [0, 4, 6, 9]
    assert packing.domain_T.tolist() == [0, 0, 1, 2, 0, 0, 0, 0, 2]
    assert packing.time_T.tolist() == [ALWAYS] * 3 + [NOW_MS - 7] + [ALWAYS] * 4 + [NOW_MS - 3]
    assert (packing.event_rows.tolist(), packing.request_rows.tolist()) == ([2, 3, 8], [0, 1, 4, 5, 6, 7])
    assert [part.tolist() for part in packing.static()] == [[0, 1, 2, 4, 5, 6, 7], [0, 3, 5, 7]]
    assert [part.tolist() for part in packing.timed()] == [[3, 8], [0, 1, 1, 2]]
    assert packing.counts(Domain.LONG_TERM).tolist() == [1, 0, 0]
    assert packing.counts(Domain.REAL_TIME).tolist() == [1, 0, 1]


def whole_square(module, x, y, history, candidates):
    """The article's way, for one user: all tokens in one matrix, under a square mask."""
    packing = remembered(module, x, history).packing
    tokens = torch.zeros(len(packing.domain_T), DIM).index_copy(0, packing.event_rows, x)
    asked = module.request(history.now_ms, packing.counts(Domain.LONG_TERM)).flatten(0, 1)
    tokens = torch.cat([tokens.index_copy(0, packing.request_rows, asked), y])
    domain = torch.cat([packing.domain_T, torch.full((len(y),), int(Domain.CANDIDATE))])
    size, kept = len(tokens), len(packing.domain_T)
    time = torch.cat(
        [history.now_ms.expand(kept).index_copy(0, packing.event_rows, history.time_ms), candidates.time_ms]
    )
    mask = torch.zeros(size, size)
    for query in range(size):
        for key in range(kept):
            static = domain[key] in (Domain.REQUEST, Domain.LONG_TERM)
            asks_later = domain[query] in (Domain.REAL_TIME, Domain.CANDIDATE) and time[query] > time[key]
            mask[query, key] = static or asks_later
    mask.fill_diagonal_(1)
    for layer in module.layers:
        u, q, k, v = layer.project(tokens, domain)
        weights = F.silu(torch.einsum("qhk,jhk->hqj", q, k)) / layer.normaliser * mask
        tokens = layer.finish(torch.einsum("hqj,jhk->qhk", weights, v), u, tokens, domain)
    return module.norm(tokens[kept:])


def test_memory_and_reading_are_the_square_of_all_tokens(close):
    module = encoder(num_layers=3)
    history = histories([9 * DAY_MS, 2 * DAY_MS, 2 * DAY_MS, 4000, 3000, 3000, 1000])
    candidates = candidates_at([0, 1000, 2000, 3000, 5000])
    x, y = torch.randn(7, DIM), torch.randn(5, DIM)
    close(states(module, x, y, history, candidates), whole_square(module, x, y, history, candidates))


def crowd(seed: int = 0) -> tuple[History, Candidates]:
    """Users with few distinct times, so that many are equal."""
    generator = torch_generator(seed, "mtgr")
    lengths, asked = [9, 0, 4, 1], [5, 3, 1, 4]
    seconds = [torch.randint(12, (n,), generator=generator).sort(descending=True).values * 1000 for n in lengths]
    old = [[2 * DAY_MS] * 2 + row.tolist() if len(row) > 1 else row.tolist() for row in seconds]
    moments = [(torch.randint(12, (n,), generator=generator) * 1000).tolist() for n in asked]
    return histories(*old), candidates_at(*moments)


@pytest.mark.parametrize("seed", range(3))
def test_nothing_at_or_after_a_candidate_reaches_it(seed):
    module, (history, candidates) = encoder(), crowd(seed)
    x, y = torch.randn(history.num_events, DIM, requires_grad=True), torch.randn(candidates.num_candidates, DIM)
    got, equal, seen = states(module, x, y, history, candidates), 0, 0
    for c, (user, time) in enumerate(zip(candidates.user_of_candidate(), candidates.time_ms)):
        grad = torch.autograd.grad(got[c].sum(), x, retain_graph=True)[0]
        own = history.user_of_event() == user
        earlier = own & (history.time_ms < time)
        assert (grad[~earlier] == 0).all()
        assert (grad[earlier] != 0).any(1).all()
        equal, seen = equal + int((own & (history.time_ms == time)).sum()), seen + int(earlier.sum())
    assert equal > 3
    assert seen > 20


def test_a_candidate_cannot_tell_how_many_events_come_after_it(close):
    module = encoder(window_s=3600.0)
    trunk = MtgrTrunk.Config(mlp=MLP).build(dim=DIM)
    whole, cut = histories([DAY_MS, 5000, 3000, 2000, 1000]), histories([DAY_MS, 5000])
    x, y, candidates = torch.randn(5, DIM), torch.randn(1, DIM), candidates_at([4000])
    got = [states(module, trunk(h.jagged(x[: h.num_events]), h).values, y, h, candidates) for h in (whole, cut)]
    close(*got)


def test_candidates_are_isolated_and_the_memory_serves_many_requests(close):
    module, (history, candidates) = encoder(), crowd()
    x, y = torch.randn(history.num_events, DIM), torch.randn(candidates.num_candidates, DIM)
    together = states(module, x, y, history, candidates)
    memory = remembered(module, x, history)
    none = Signal(history_TD=x, candidates_CD=y[:0], cold_C=torch.zeros(0, dtype=torch.bool))
    for c in range(candidates.num_candidates):
        alone = picked(candidates, [c])
        close(module.read(memory, Jagged(y[[c]], alone.offsets), history, alone, none), together[[c]])
    order = [4, 2, 0, 1, 3, *range(5, 13)]
    close(states(module, x, y[order], history, picked(candidates, order)), together[order])


def drift(eps: float) -> float:
    """How far a candidate's state moves when 30 more are asked and attention is divided by the number of tokens."""
    history, x, y = histories([2 * DAY_MS, 1000]), torch.randn(2, DIM), torch.randn(31, DIM)
    found = []
    for asked in (1, 31):
        module = encoder(normaliser=float(3 + 2 + asked), eps=eps)
        found.append(states(module, x, y[:asked], history, candidates_at([0] * asked))[0])
    return (found[0] - found[1]).abs().max().item()


def test_dividing_by_the_number_of_tokens_drifts_but_only_as_far_as_eps_lets_it():
    """The norm behind the gate takes a common factor out again; what is left of it is eps against the spread."""
    assert drift(1e-3) > 1e-6
    assert drift(1e-300) < 1e-9


def test_a_packed_user_is_as_many_samples_of_one_candidate(close):
    module, (history, candidates) = encoder(), crowd()
    x, y = torch.randn(history.num_events, DIM), torch.randn(candidates.num_candidates, DIM)
    target = torch.randn(candidates.num_candidates)

    def summed(which: list[int]) -> torch.Tensor:
        got = states(module, x, y[which], history, picked(candidates, which)).sum(1)
        return (got - target[which]).square().sum()

    whole = summed(list(range(candidates.num_candidates)))
    parts = sum(summed([c]) for c in range(candidates.num_candidates))
    close(whole, parts)
    wanted = list(module.parameters())
    for got, want in zip(*(torch.autograd.grad(loss, wanted) for loss in (whole, parts))):
        assert (got - want).abs().max() <= 1e-9 * want.abs().max().clamp(min=1e-9)


def test_a_candidate_from_before_the_window_is_refused():
    x, y = torch.randn(1, DIM), torch.randn(2, DIM)
    history, late = histories([2 * DAY_MS]), candidates_at([0, DAY_MS + 1])
    with pytest.raises(DataError, match=rf"time_ms \({NOW_MS - DAY_MS - 1}\) must not lie before the real-time window"):
        states(encoder(), x, y, history, late)
    assert states(encoder(window_s=2 * 86_400.0), x, y, history, late).isfinite().all()


@pytest.mark.parametrize("request_tokens", [REQUEST, None], ids=["with request", "without"])
def test_users_without_events_and_requests_without_candidates_work(request_tokens):
    module = encoder(request=request_tokens)
    for lengths, asked in (([[]], [[0]]), ([[], [5]], [[], [0, 0]]), ([[5]], [[]]), ([[2 * DAY_MS], []], [[0], [0]])):
        history, candidates = histories(*lengths), candidates_at(*asked)
        x, y = torch.randn(history.num_events, DIM), torch.randn(candidates.num_candidates, DIM)
        got = states(module, x, y, history, candidates)
        assert got.shape == y.shape
        assert got.isfinite().all()


def test_the_trunk_knows_how_long_ago_an_event_was():
    trunk = MtgrTrunk.Config(mlp=MLP).build(dim=DIM)
    history = histories([DAY_MS, DAY_MS, 1000])
    same, also, later = trunk(history.jagged(torch.ones(3, DIM)), history).values
    assert torch.equal(same, also)
    assert not torch.equal(same, later)
    assert not torch.equal(trunk.for_candidates(torch.ones(1, DIM), torch.zeros(1).long())[0], later)


def test_bad_options_are_named():
    layer = MtgrLayer.Config(mlp=MLP)
    with pytest.raises(ConfigError, match=r"num_layers \(0\) must be at least 1"):
        MtgrEncoder.Config(layer=layer, num_layers=0)
    with pytest.raises(ConfigError, match=r"window_s \(-1.0\) must not be negative"):
        MtgrEncoder.Config(layer=layer, window_s=-1.0)
    with pytest.raises(ConfigError, match=r"num_time_buckets \(1\) must be at least 2"):
        MtgrTrunk.Config(mlp=MLP, num_time_buckets=1)
