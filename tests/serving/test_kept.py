"""What is kept of users between questions gives the answers of nothing kept."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import hpgr.models  # noqa: F401 - registers them
from hpgr.core.batch import Candidates, History
from hpgr.frames.ranking import features_of
from hpgr.frames.registry import MODELS
from hpgr.serving.engine import Engine
from hpgr.serving.events import Event
from hpgr.serving.kept import KeptModel
from hpgr.serving.questions import Question
from hpgr.serving.settings import EngineSettings
from hpgr.serving.sqlite_states import SqliteStates
from tests.serving.conftest import train

NUM_ITEMS, MINUTE, DAY = 20, 60_000, 86_400_000
FRAMES = ("hpgr-live", "hpgr", "hpgr-paper", "hstu-ranker")
LARGE = 1 << 24


@cache
def frame(name):
    torch.manual_seed(1)
    module = MODELS[name]().build(num_items=NUM_ITEMS).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.3)
    return module


def history_of(events: list[tuple[int, int]], now_ms: int) -> History:
    """Events ``(time_ms, item)`` in order of time; half an hour without one begins a session."""
    events = sorted(event for event in events if event[0] < now_ms)
    times = np.array([time_ms for time_ms, _ in events], dtype=np.int64)
    sessions = np.cumsum(np.diff(times, prepend=times[:1]) > 30 * MINUTE) if len(times) else times
    is_open = bool(len(times)) and now_ms - int(times[-1]) <= 30 * MINUTE
    return History.from_lists(
        [[item for _, item in events]],
        times_ms=[times.tolist()],
        sessions=[sessions.tolist()],
        now_ms=[now_ms],
        session_open=[is_open],
    )


def asked(module, history: History) -> Candidates:
    count, now_ms = 3, history.now_ms
    features = torch.rand(count * len(now_ms), len(features_of(module)), generator=torch.Generator().manual_seed(2))
    return Candidates.from_lists([[1, 7, NUM_ITEMS]] * len(now_ms), now_ms=now_ms, features=features)


# Who, how far the event lies from the newest one, the item; how long after is asked; whether the newest events are ignored.
steps = st.one_of(
    st.integers(0, 5 * MINUTE), st.integers(25 * MINUTE, 40 * MINUTE), st.integers(-3 * 60 * MINUTE, 0), st.just(DAY)
)
told = st.tuples(st.sampled_from("ab"), steps, st.integers(0, NUM_ITEMS))
question = st.tuples(
    st.lists(told, max_size=8), st.sampled_from([1, 1, 45 * MINUTE]), st.booleans(), st.sampled_from("-ab")
)


@settings(max_examples=25, deadline=None)
@given(
    stream=st.lists(question, min_size=1, max_size=8),
    name=st.sampled_from(FRAMES),
    budget=st.sampled_from([0, 9000, LARGE]),
)
@torch.no_grad()
def test_answers_are_those_of_a_model_that_keeps_nothing(stream, name, budget):
    module, events, now = frame(name), {"a": [], "b": []}, 100 * DAY
    kept = KeptModel(module, budget)
    for batch, wait, back, forgotten in stream:
        for user, step, item in batch:
            events[user].append((now + step, item))
            now = max(now, now + step)
        if forgotten in events:
            kept.forget(forgotten)
        moment = now + wait - (20 * MINUTE if back else 0)
        history = History.together([history_of(mine, moment) for mine in events.values()])
        candidates = asked(module, history)
        torch.testing.assert_close(
            kept.logits(["a", "b"], history, candidates), module.logits(history, candidates), rtol=1e-4, atol=1e-4
        )
        if kept.keeps_queries:
            torch.testing.assert_close(kept.queries(["a", None], history), module.query(history), rtol=1e-4, atol=1e-4)
        assert kept.counts.bytes <= budget
        assert kept.counts.bytes == sum(one.num_bytes for one in kept._held.values())


@torch.no_grad()
def test_states_grow_by_events_and_a_late_one_begins_them_again():
    kept, events = KeptModel(frame("hpgr-live"), LARGE), [(MINUTE * i, i % NUM_ITEMS) for i in range(9)]

    def ask(mine: list[tuple[int, int]], now_ms: int = DAY) -> tuple[int, int, int]:
        before = kept.counts.begun, kept.counts.grown, kept.counts.hits
        history = history_of(mine, now_ms)
        kept.logits(["a"], history, asked(frame("hpgr-live"), history))
        return tuple(x - y for x, y in zip((kept.counts.begun, kept.counts.grown, kept.counts.hits), before))

    begun, grown, hit = (1, 0, 0), (0, 1, 0), (0, 0, 1)
    assert [ask(events), ask(events, 2 * DAY)] == [begun, hit]
    assert [ask([*events, (10 * MINUTE, 3)]), ask([*events, (10 * MINUTE, 3)])] == [grown, hit]
    late = [*events, (10 * MINUTE, 3), (90_000, 5)]
    assert [ask(late), ask(late)] == [begun, hit]
    # A question about the past takes nothing from the state of today.
    assert [ask(late, 5 * MINUTE), ask(late)] == [begun, hit]
    assert ask([*late, *((20 * MINUTE + i, 1) for i in range(7))]) == begun
    kept.forget("a")
    assert (len(kept), kept.counts.bytes) == (0, 0)
    assert ask(late) == begun


@torch.no_grad()
def test_a_state_that_was_begun_before_its_user_was_forgotten_is_not_kept():
    kept = KeptModel(frame("hpgr-live"), LARGE)
    begin = kept._frame.begin

    class Slow:
        def __getattr__(self, name):
            return getattr(frame("hpgr-live"), name)

        def begin(self, history):
            kept.forget("a")
            return begin(history)

    kept._frame, history = Slow(), history_of([(1, 1), (2, 2)], DAY)
    kept.logits(["a"], history, asked(frame("hpgr-live"), history))
    assert len(kept) == 0


@torch.no_grad()
def test_what_was_read_before_a_user_was_forgotten_is_not_kept_and_another_epoch_drops_the_kept():
    kept, history = KeptModel(frame("hpgr-live"), LARGE), history_of([(1, 1), (2, 2)], DAY)

    def ask():
        kept.logits(["a"], history, asked(frame("hpgr-live"), history))

    since = kept.forgets
    kept.forget("a")
    kept.begin(since, {"a": "e1"})
    ask()
    assert len(kept) == 0, "the history is older than the forgetting"
    kept.begin(kept.forgets, {"a": "e1"})
    ask()
    assert len(kept) == 1
    kept.begin(kept.forgets, {"a": "e1", "b": "e2"})
    assert len(kept) == 1
    # Another process was told to forget: here the user only has another epoch.
    kept.begin(kept.forgets, {"a": ""})
    assert (len(kept), kept.counts.bytes) == (0, 0)


@pytest.fixture(scope="module")
def live_bundle(tmp_path_factory):
    return train(tmp_path_factory.mktemp("live"), seed=1, model="hpgr-live")


def test_an_engine_that_keeps_answers_as_one_that_does_not(live_bundle):
    """Events one after another, beyond the model's length, some of them late; asked in batches, at moments of today and before."""
    states = SqliteStates(":memory:")
    keeps, plain = (Engine(live_bundle, states, EngineSettings(state_mb=mb, blend_events=0)) for mb in (8, 0))
    draw, now = np.random.default_rng(4), keeps.log.end_ms
    ids = keeps.reading.ids
    for _ in range(60):
        for user in "abc":
            for _ in range(draw.integers(0, 3)):
                now += int(draw.choice([1000, 5 * MINUTE, 45 * MINUTE]))
                late = 20 * MINUTE if draw.random() < 0.1 else 0
                event = Event(
                    user=user, item=str(draw.choice([*ids[:30], "new"])), time_ms=now - late, event_id=str(now)
                )
                [placed] = states.append([event], DAY)
                for engine in (keeps, plain):
                    engine.histories.appended(user, [placed.stored], placed.mark)
        at = now - 30 * MINUTE if draw.random() < 0.2 else None
        questions = [
            Question(user=user, by="rank", at_ms=at, k=5, pool=20, candidates=c)
            for user in "abc"
            for c in (None, tuple(ids[:9]))
        ]
        for one, other in zip(keeps.answer(questions, now + 1000), plain.answer(questions, now + 1000)):
            assert [item for item, _ in one.items] == [item for item, _ in other.items]
            np.testing.assert_allclose([s for _, s in one.items], [s for _, s in other.items], rtol=1e-4, atol=1e-4)
    assert min(keeps.kept.counts.grown, keeps.kept.counts.hits, keeps.kept.counts.begun) > 5
    assert len(plain.kept) == 0
    keeps.forget("a")
    assert all(user != "a" for user, _ in keeps.kept._held)
    states.close()
