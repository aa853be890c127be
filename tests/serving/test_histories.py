"""A history grown event by event is what reading the whole log gives, and what training reads."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpgr import EventLog, SequenceStore
from hpgr.data.history_rule import DEFAULT_HISTORY, HistoryRule
from hpgr.data.sessions import CalendarDay, GivenSessions, IdleGap
from hpgr.serving.events import Event, Mark, Stored
from hpgr.serving.histories import Histories
from hpgr.serving.reading import GivenOrGap, Reading
from hpgr.serving.sqlite_states import SqliteStates
from hpgr.serving.user_history import UserHistory

MINUTE, DAY = 60_000, 86_400_000
READING = Reading(
    ids=[10, 11, 12, 13],
    row_of={10: 0, 11: 1, 12: 2, 13: 3},
    item_type="integer",
    rule=IdleGap(),
    history=DEFAULT_HISTORY,
    set_ties=False,
    action_code={"view": 1, "buy": 2},
    fingerprint="f",
    max_events=1000,
    max_len=3,
)
VIEWS = HistoryRule(events=("view",), duplicates="drop")
HISTORIES = [DEFAULT_HISTORY, HistoryRule(events=("view",)), HistoryRule(duplicates="drop"), VIEWS]
RULES = [IdleGap(), IdleGap(max_events=3), CalendarDay(), GivenOrGap(gap_s=1800)]
FIELDS = ("item_rows", "time_ms", "action", "session_offsets")


def same(one: UserHistory, other: UserHistory) -> bool:
    equal = all(np.array_equal(getattr(one, name), getattr(other, name)) for name in FIELDS)
    return equal and (one.mark, one.unknown, one.last_code) == (other.mark, other.unknown, other.last_code)


# Mostly forward, by steps inside a session and across its border; sometimes back, now and then far back.
steps = st.one_of(
    st.integers(0, 5 * MINUTE),
    st.integers(25 * MINUTE, 40 * MINUTE),
    st.integers(-3 * 60 * MINUTE, 0),
    st.just(-9 * DAY),
)
told = st.tuples(
    st.sampled_from("ab"),
    steps,
    st.sampled_from([10, 11, "12", 13, 99, "x"]),
    st.sampled_from([None, "view", "buy", "?"]),
    st.sampled_from([None, "s1", "s2"]),
    st.sampled_from(["", "", "1", "2"]),
)


@settings(max_examples=60, deadline=None)
@given(
    stream=st.lists(st.lists(told, min_size=1, max_size=4), min_size=1, max_size=25),
    rule=st.sampled_from(RULES),
    history=st.sampled_from(HISTORIES),
    set_ties=st.booleans(),
    limit=st.sampled_from([1000, 7]),
    budget=st.sampled_from([1 << 20, 900]),
)
def test_grown_event_by_event_is_the_whole_log_read_again(stream, rule, history, set_ties, limit, budget):
    reading = replace(READING, rule=rule, history=history, set_ties=set_ties, max_events=limit)
    states, now = SqliteStates(":memory:"), 20 * DAY
    histories = Histories(states, reading, budget)
    for group in stream:
        events = []
        for user, step, item, action, session, event_id in group:
            now = max(now + step, 0) if step > -DAY else now
            time_ms = now if step > -DAY else now + step
            events.append(
                Event(user=user, item=item, time_ms=time_ms, event_id=event_id, action=action, session=session)
            )
        for event, placed in zip(events, states.append(events, DAY)):
            if placed.stored is not None:
                histories.appended(event.user, [placed.stored], placed.mark)
        for user, grown in histories.of(["a", "b"]).items():
            assert same(grown, UserHistory.of(states.read([(user, None)])[0], reading))
        assert histories.counts.bytes <= max(budget, 0)
    states.close()


def test_a_long_session_is_not_forgotten_for_a_new_one_of_fewer_events_than_the_model_reads():
    reading, states = replace(READING, max_events=7), SqliteStates(":memory:")
    lengths = []
    for i, time_ms in enumerate([*(k * 1000 for k in range(7)), DAY, DAY + 1000, DAY + 2000]):
        states.append([Event(user="a", item=10 + i % 4, time_ms=time_ms)], 9 * DAY)
        lengths.append(len(UserHistory.of(states.read([("a", None)])[0], reading)))
    # The new session alone is kept once it has what the model reads.
    assert lengths == [1, 2, 3, 4, 5, 6, 7, 7, 7, 3]
    states.close()


def test_histories_grow_instead_of_being_read_again():
    states = SqliteStates(":memory:")
    histories = Histories(states, READING, 1 << 20)
    for i in range(50):
        [placed] = states.append([Event(user="a", item=10, time_ms=i * MINUTE)], DAY)
        histories.appended("a", [placed.stored], placed.mark)
        assert len(histories.of(["a"])["a"]) == i + 1
    assert (histories.counts.misses, histories.counts.grown, histories.counts.hits) == (1, 49, 49)
    states.close()


@pytest.mark.parametrize("history", [DEFAULT_HISTORY, VIEWS], ids=["all", "views"])
@pytest.mark.parametrize("sessions", [IdleGap(), IdleGap(max_events=4), GivenSessions(), CalendarDay()], ids=str)
def test_events_told_one_by_one_read_as_the_store_of_the_same_log(sessions, history, tmp_path):
    generator = np.random.default_rng(5)
    n = 300
    frame = pl.DataFrame(
        {
            "user_id": generator.integers(0, 4, n),
            "item_id": generator.integers(0, 9, n),
            "timestamp": 1_700_000_000 + np.sort(generator.integers(0, 300_000, n)),
            "session_id": np.arange(n) // 17,
            "event": np.where(generator.random(n) < 0.6, "view", "like"),
        }
    )
    # Every ninth row is told twice.
    frame = pl.concat([frame, frame.gather_every(9)]).sort("timestamp", maintain_order=True)
    store = SequenceStore.build(EventLog.read(frame), tmp_path / "store", sessions=sessions, history=history)
    ids = store.items.ids.to_list()
    rule = GivenOrGap(gap_s=1800) if isinstance(sessions, GivenSessions) else sessions
    row_of = {id_: i for i, id_ in enumerate(ids)}
    reading = replace(READING, ids=ids, row_of=row_of, rule=rule, history=history, action_code={})
    states = SqliteStates(":memory:")
    histories = Histories(states, reading, 1 << 20)
    for i, row in enumerate(frame.iter_rows(named=True)):
        event = Event(
            user=str(row["user_id"]),
            item=row["item_id"],
            time_ms=row["timestamp"] * 1000,
            event_id=str(i),
            session=str(row["session_id"]),
            action=row["event"],
        )
        [placed] = states.append([event], DAY)
        histories.appended(event.user, [placed.stored], placed.mark)
        histories.of([event.user])
    assert len(store.item_idx) < len(frame) or history == DEFAULT_HISTORY
    for user in range(4):
        start, stop = store.user_offsets[user : user + 2]
        borders = np.asarray(store.session_offsets)
        held = histories.of([str(user)])[str(user)]
        assert np.array_equal(held.item_rows, store.item_idx[start:stop])
        assert np.array_equal(held.time_ms, store.time_ms[start:stop])
        assert np.array_equal(held.session_offsets, borders[(borders >= start) & (borders <= stop)] - start)
    states.close()


def test_a_write_during_a_reading_is_not_lost():
    """The log is read, then written to, then held: what is held must not be the old one."""
    states = SqliteStates(":memory:")
    states.append([Event(user="a", item=10, time_ms=1)], DAY)
    histories = Histories(states, READING, 1 << 20)
    read = states.read

    def slow(asked):
        found = read(asked)
        [placed] = states.append([Event(user="a", item=11, time_ms=2)], DAY)
        if placed.stored is not None:
            histories.appended("a", [placed.stored], placed.mark)
        return found

    states.read = slow
    assert len(histories.of(["a"])["a"]) == 1
    states.read = read
    assert len(histories.of(["a"])["a"]) == 2
    states.close()


def test_a_user_forgotten_elsewhere_leaves_memory():
    """Another process forgot the user: this one hears of it by an empty log."""
    states = SqliteStates(":memory:")
    states.shared = True
    states.append([Event(user="a", item=10, time_ms=1)], DAY)
    histories = Histories(states, READING, 1 << 20)
    assert len(histories.of(["a"])["a"]) == len(histories) == 1
    states.forget("a")
    assert len(histories.of(["a"])["a"]) == len(histories) == histories.counts.bytes == 0
    states.close()


def test_each_of_several_readers_sees_a_change_of_its_own_time():
    """One reader begins before a user is forgotten and ends after it, while others come and go."""
    states = SqliteStates(":memory:")
    states.append([Event(user="a", item=10, time_ms=1)], DAY)
    histories, read = Histories(states, READING, 1 << 20), states.read
    has_read = {name: threading.Event() for name in ("before", "after")}
    may_go = {name: threading.Event() for name in ("before", "after")}

    def slow(asked):
        found, name = read(asked), threading.current_thread().name
        if name in may_go:
            has_read[name].set()
            may_go[name].wait(5)
        return found

    states.read = slow
    threads = {name: threading.Thread(target=histories.of, args=[["a"]], name=name) for name in may_go}
    threads["before"].start()
    has_read["before"].wait(5)
    histories.of(["a"])
    states.forget("a")
    histories.forget("a")
    threads["after"].start()
    has_read["after"].wait(5)
    for name in ("after", "before"):
        may_go[name].set()
        threads[name].join(5)
    assert len(histories) == len(histories.of(["a"])["a"]) == 0
    assert not histories._reading_now
    states.close()


def test_an_event_of_a_user_who_began_anew_drops_what_is_held():
    states = SqliteStates(":memory:")
    states.append([Event(user="a", item=10, time_ms=i) for i in range(3)], DAY)
    histories = Histories(states, READING, 1 << 20)
    histories.of(["a"])
    histories.appended("a", [Stored(1, 9, 11, None, None)], Mark("another", 1))
    assert len(histories) == 0
    states.close()


def test_only_the_canonical_spelling_of_an_integer_is_that_item():
    assert [READING.row(item) for item in (12, "12", "012", " 12", "+12", "1_2", "\u0661\u0662", "x")] == [
        2,
        2,
        *[-1] * 6,
    ]
