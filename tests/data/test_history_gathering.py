"""One history, whether its events come from a store or from a caller."""

from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl
import pytest
import torch

from hpgr.core.errors import DataError
from hpgr.core.vocabulary import Vocabulary
from hpgr.data.catalogue import Catalogue
from hpgr.data.history import RawEvents, gather_history, ordered_events
from hpgr.data.ranges import flat_index, offsets_from
from hpgr.data.sessions import CalendarDay, GivenSessions, IdleGap
from hpgr.data.split import split
from hpgr.data.split_rules import GlobalTime


def equal(a, b) -> bool:
    names = [f.name for f in dataclasses.fields(a) if f.name != "features"]
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in names)


def raw_of(store, queries, *, shuffle: int | None = None) -> RawEvents:
    at = flat_index(queries.start, queries.stop)
    offsets = offsets_from(queries.stop - queries.start)
    rng = np.random.default_rng(shuffle)
    owner = np.repeat(np.arange(len(queries)), np.diff(offsets))
    order = np.arange(len(at)) if shuffle is None else np.lexsort((rng.random(len(at)), owner))
    at = at[order]
    return RawEvents(
        item_idx=store.item_idx[at].astype(np.int64),
        time_ms=store.time_ms[at],
        action=store.action[at],
        offsets=offsets,
        session_code=None if store.session_code is None else store.session_code[at],
        tie=None if shuffle is None else at,
    )


@pytest.mark.parametrize("rule", [IdleGap(), IdleGap(max_events=2), CalendarDay(), GivenSessions()], ids=str)
@pytest.mark.parametrize("max_len", [3, 1000])
@pytest.mark.parametrize("shuffle", [None, 1])
def test_raw_events_and_the_store_give_identical_histories(make_store, random_log, rule, max_len, shuffle):
    log = random_log.with_columns(session_id=pl.col("timestamp") // 7_200_000)
    store = make_store(log, sessions=rule)
    found = split(store, GlobalTime(test_share=0.3))
    queries = found.test
    want = gather_history(store, found.catalogue, queries.start, queries.stop, queries.now_ms, max_len=max_len)
    raw = raw_of(store, queries, shuffle=shuffle)
    events = ordered_events(raw, queries.now_ms, session_rule=rule, keep_now=True)
    got = events.history(found.catalogue, queries.now_ms, max_len=max_len)
    assert events.dropped == 0
    assert want.num_events > 100
    assert equal(got, want)


def test_a_history_by_hand(make_store):
    hours = [0, 0.1, 5, 5.1, 9]
    moments = [1_700_000_000_123 + int(h * 3_600_000) for h in hours]
    log = pl.DataFrame({"user_id": [1] * 5, "item_id": list("abcab"), "timestamp": moments, "event": list("xyxyx")})
    store = make_store(log)
    catalogue = Catalogue(items=store.items, of_store=np.array([1, 2, 0]), train_count=np.array([1, 1]))
    two = np.array([0, 0]), np.array([4, 0]), np.array([moments[3] + 60_000, 5])
    history = gather_history(store, catalogue, *two, max_len=3)
    assert history.item_idx.tolist() == [2, 0, 1]
    assert history.time_ms.tolist() == moments[1:4]
    assert history.time_ms.dtype == torch.int64
    assert history.action.tolist() == [2, 1, 2]
    assert history.user_offsets.tolist() == [0, 3, 3]
    assert history.session_offsets.tolist() == [0, 1, 3]
    assert history.session_open.tolist() == [True, False]
    assert history.now_ms.tolist() == [moments[3] + 60_000, 5]
    one = gather_history(
        store, catalogue, np.array([0]), np.array([4]), np.array([moments[4]]), max_len=9, max_sessions=1
    )
    assert one.time_ms.tolist() == moments[2:4]
    assert one.session_open.tolist() == [False]


def test_max_sessions_counts_back_from_the_end(make_store, random_log):
    store = make_store(random_log)
    found = split(store, GlobalTime(test_share=0.3))
    queries, catalogue = found.test, found.catalogue
    whole, two = (
        gather_history(store, catalogue, queries.start, queries.stop, queries.now_ms, max_len=1000, max_sessions=n)
        for n in (None, 2)
    )
    sessions = whole.user_session_offsets().diff()
    assert two.user_session_offsets().diff().tolist() == sessions.clamp(max=2).tolist()
    assert int(sessions.max()) > 2


def test_events_that_are_not_past_are_dropped_and_counted():
    raw = RawEvents(
        item_idx=np.array([3, -1, 2, 1]),
        time_ms=np.array([30, 20, 10, 40]),
        action=np.zeros(4, dtype=np.int64),
        offsets=np.array([0, 4]),
    )
    strict = ordered_events(raw, np.array([30]), session_rule=IdleGap())
    assert (strict.item_idx.tolist(), strict.time_ms.tolist(), strict.dropped) == ([2, -1], [10, 20], 2)
    assert ordered_events(raw, np.array([30]), session_rule=IdleGap(), keep_now=True).item_idx.tolist() == [2, -1, 3]
    catalogue = Catalogue(items=Vocabulary.of(range(4)), of_store=np.arange(4), train_count=np.ones(4))
    assert strict.history(catalogue, np.array([30]), max_len=9).item_idx.tolist() == [2, 4]


def test_no_event_at_all_is_an_empty_history():
    none = np.zeros(0, dtype=np.int64)
    raw = RawEvents(item_idx=none, time_ms=none, action=none, offsets=np.array([0, 0]))
    catalogue = Catalogue(items=Vocabulary.of(range(4)), of_store=np.arange(4), train_count=np.ones(4))
    history = ordered_events(raw, np.array([30]), session_rule=IdleGap()).history(catalogue, np.array([30]), max_len=9)
    assert history.user_offsets.tolist() == [0, 0]
    assert history.session_offsets.tolist() == [0]
    assert history.session_open.tolist() == [False]


def test_columns_of_unlike_length_are_refused():
    raw = RawEvents(item_idx=np.arange(3), time_ms=np.arange(3), action=np.arange(2), offsets=np.array([0, 3]))
    with pytest.raises(DataError, match=r"history columns \(3 items, 3 times, 2 actions\) must have the 3 rows"):
        ordered_events(raw, np.array([9]), session_rule=IdleGap())
