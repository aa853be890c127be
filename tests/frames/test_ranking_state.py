"""A state that grew event by event is the state of the whole history."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

import hpgr.models  # noqa: F401 - registers them
from hpgr.core.batch import Candidates, History
from hpgr.core.errors import ConfigError, DataError, UnsupportedError
from hpgr.frames.ranking_state import Event, RankingState
from hpgr.frames.registry import MODELS
from hpgr.nn.contextual_position import ContextualPosition
from hpgr.nn.position import TimeAwarePosition
from hpgr.nn.session_rows import SessionRows

NUM_ITEMS, HOUR_MS = 30, 3_600_000
LIVE = MODELS["hpgr-live"]().ranker
BARE = replace(LIVE, encoder=replace(LIVE.encoder, bias=None))
CONFIGS = {
    "hpgr-live": LIVE,
    "without bias": BARE,
    "additive gate": replace(BARE, encoder=replace(BARE.encoder, gate="additive")),
    "dense": replace(BARE, encoder=replace(BARE.encoder, selection=None)),
    "session-sparse": replace(
        BARE, encoder=replace(BARE.encoder, rows=SessionRows(own=4, recent=2, sessions=2, per_session=2))
    ),
    "actions": replace(BARE, num_actions=3),
    "contextual": replace(
        LIVE, encoder=replace(LIVE.encoder, layer=replace(LIVE.encoder.layer, context=ContextualPosition.Config()))
    ),
    "cape-din": MODELS["cape-din"](),
}


def ranker(config):
    torch.manual_seed(1)
    module = config.build(num_items=NUM_ITEMS).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.3)
    return module


def stream(seed: int, count: int) -> list[Event]:
    """Items that repeat, simultaneous events, sessions of one event and of many, items outside the catalogue."""
    draw = torch.Generator().manual_seed(seed)
    item, action, gap, begins = (torch.randint(high, (count,), generator=draw) for high in (NUM_ITEMS + 1, 5, 4, 3))
    time_ms = (gap * HOUR_MS).cumsum(0)
    return [
        Event(item_idx=i, time_ms=t, action=a, new_session=b == 0)
        for i, t, a, b in zip(item.tolist(), time_ms.tolist(), action.tolist(), begins.tolist())
    ]


def history_of(events: list[Event]) -> History:
    begins = torch.tensor([e.new_session or n == 0 for n, e in enumerate(events)], dtype=torch.int64)
    return History.from_lists(
        [[e.item_idx for e in events]],
        times_ms=[[e.time_ms for e in events]],
        actions=[[e.action for e in events]],
        sessions=[begins.cumsum(0).tolist()],
    )


def asked(module, now_ms: int, count: int = 6) -> Candidates:
    items = torch.randint(NUM_ITEMS + 1, (count,), generator=torch.Generator().manual_seed(5)).tolist()
    features = torch.rand(count, len(module.config.features), generator=torch.Generator().manual_seed(6))
    return Candidates.from_lists([items], now_ms=torch.tensor([now_ms]), features=features)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(("seed", "begun"), [(0, 0), (1, 1), (2, 9)])
def test_a_state_grown_by_events_is_the_state_of_the_whole_history(name, seed, begun, close):
    module, events = ranker(CONFIGS[name]), stream(seed, 24)
    state = module.begin(history_of(events[:begun]))
    for count in range(begun + 1, len(events) + 1):
        state = module.append(state, events[count - 1])
        history = history_of(events[:count])
        assert torch.equal(state.history.session_offsets, history.session_offsets)
        candidates = asked(module, events[count - 1].time_ms + HOUR_MS)
        with torch.no_grad():
            want = module.logits(history, candidates)
        close(module.score(state, candidates), want)
    whole = module.begin(history_of(events)).tensors()
    for part, tensor in state.tensors().items():
        if part not in ("now_ms", "session_open"):
            close(tensor, whole[part])


@pytest.mark.parametrize("name", ["hpgr", "hpgr-paper", "hpgr-live", "hstu-ranker", "din", "cape-din"])
def test_cached_scores_are_the_logits_whatever_the_micro_batch(name, close):
    frame = MODELS[name]()
    module, history = ranker(getattr(frame, "ranker", frame)), history_of(stream(3, 17))
    candidates = asked(module, int(history.now_ms[0]), count=11)
    state = module.begin(history)
    with torch.no_grad():
        want = module.logits(history, candidates)
    for at_once in (1, 4, 11, 1000):
        close(module.score(state, candidates, at_once=at_once), want)
    assert module.score(state, asked(module, 0, count=0)).shape == (0, 1)


@pytest.mark.parametrize("name", [*CONFIGS, "hpgr"])
def test_states_of_several_users_are_asked_together_as_one_by_one(name, close):
    module = ranker(CONFIGS[name] if name in CONFIGS else replace(MODELS["hpgr"]().ranker, num_told=0))
    histories = [history_of(stream(seed, count)) for seed, count in ((1, 9), (2, 0), (3, 21), (4, 2))]
    now_ms = [int(history.now_ms[0]) for history in histories]
    apart = [asked(module, now, count) for now, count in zip(now_ms, (3, 4, 0, 5))]
    features = torch.cat([one.features for one in apart])
    items = [one.item_idx.tolist() for one in apart]
    candidates = Candidates.from_lists(items, now_ms=torch.tensor(now_ms), features=features)
    want = [module.score(module.begin(one), few) for one, few in zip(histories, apart)]
    together = RankingState.together([module.begin(one) for one in histories])
    begun = module.begin(History.together(histories))
    for state in (together, begun, RankingState.together([begun.of_user(b) for b in range(4)])):
        for at_once in (5, 1000):
            close(module.score(state, candidates, at_once=at_once), torch.cat(want))
    for b, history in enumerate(histories):
        mine = begun.of_user(b)
        assert mine.num_bytes == module.begin(history).num_bytes
        for part, tensor in module.begin(history).tensors().items():
            close(mine.tensors()[part], tensor)


def test_a_state_is_written_and_read_as_tensors(tmp_path):
    module, events = ranker(CONFIGS["session-sparse"]), stream(4, 12)
    state = module.begin(history_of(events[:-1]))
    save_file(state.tensors(), tmp_path / "state.safetensors")
    loaded = RankingState.from_tensors(load_file(tmp_path / "state.safetensors"))
    candidates = asked(module, events[-1].time_ms)
    assert torch.equal(module.score(loaded, candidates), module.score(state, candidates))
    both = [module.append(kept, events[-1]) for kept in (loaded, state)]
    assert torch.equal(*(module.score(kept, candidates) for kept in both))
    with pytest.raises(DataError, match=r"tensors \(without time_ms, keys.0\) must be those of a ranking state"):
        RankingState.from_tensors({n: t for n, t in state.tensors().items() if n not in ("time_ms", "keys.0")})


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("hpgr", r"positions with order \(from_end\) count from the newest event; take from_start"),
        ("hpgr-paper", r"the session part \(sem\) reads the events of the open session in both directions"),
        ("hstu-ranker", r"positions with order \(from_end\)"),
        ("mtgr", "its request tokens and its real-time window belong to one moment"),
    ],
)
def test_models_whose_past_changes_say_why_they_must_begin_again(name, reason):
    frame = MODELS[name]()
    module = ranker(getattr(frame, "ranker", frame))
    history = history_of(stream(0, 3))
    with pytest.raises(UnsupportedError, match=reason):
        module.append(module.begin(history), Event(item_idx=1, time_ms=10**12))
    assert module.why_not_appended() is not None
    assert ranker(LIVE).why_not_appended() is None


def test_positions_that_count_from_now_are_refused_by_name():
    position = TimeAwarePosition.Config(order="from_start")
    module = ranker(replace(BARE, trunk=replace(BARE.trunk, position=position)))
    assert module.why_not_appended() == (
        "positions with clock (now) count from the moment of the request; take previous"
    )


def test_bad_requests_are_named():
    module, events = ranker(BARE), stream(0, 4)
    state = module.begin(history_of(events))
    with pytest.raises(DataError, match=r"event time_ms \(-1\) must not lie before the newest event, which came at"):
        module.append(state, Event(item_idx=1, time_ms=-1))
    with pytest.raises(ConfigError, match=r"at_once \(0\) must be at least 1"):
        module.score(state, asked(module, 0), at_once=0)
    with pytest.raises(DataError, match=r"history \(of 2 users\) must be that of one user"):
        module.append(module.begin(History.from_lists([[1], [2]])), events[-1])
