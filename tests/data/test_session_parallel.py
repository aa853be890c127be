"""Session-parallel batches: every pair of successive events once, sessions in order, lanes filled and dropped."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from hpgr.core.errors import ConfigError, DataError
from hpgr.data.ranges import Ranges
from hpgr.data.session_parallel import SessionParallelWindows, in_lanes, session_ranges
from hpgr.data.sessions import IdleGap
from hpgr.data.split import split
from hpgr.data.split_rules import GlobalTime


@pytest.fixture
def part(make_store, random_log):
    store = make_store(random_log, sessions=IdleGap(gap_s=7200))
    found = split(store, GlobalTime())
    return store, found.train, found.catalogue


def pairs(batches) -> Counter:
    """Successive events of every row, by times and items."""
    found: Counter = Counter()
    for batch in batches:
        for start, stop in zip(batch.user_offsets.tolist(), batch.user_offsets.tolist()[1:]):
            row = list(zip(batch.time_ms[start:stop].tolist(), batch.item_idx[start:stop].tolist()))
            found.update(pairwise(row))
    return found


def wanted(store, catalogue, start, stop) -> Counter:
    items = catalogue.rows(store.item_idx)
    events = list(zip(np.asarray(store.time_ms).tolist(), items.tolist()))
    return Counter(pair for a, b in zip(start, stop) for pair in zip(events[a : b - 1], events[a + 1 : b]))


@pytest.mark.parametrize("scope", ["session", "user"])
@pytest.mark.parametrize(("num_lanes", "num_steps"), [(4, 1), (7, 3), (1, 1), (500, 2)])
def test_every_pair_is_met_once_in_an_epoch(part, scope, num_lanes, num_steps):
    store, train, catalogue = part
    config = SessionParallelWindows.Config(num_lanes=num_lanes, num_steps=num_steps)
    windows = SessionParallelWindows(store, train, catalogue, config, scope=scope)
    start, stop = session_ranges(store, train) if scope == "session" else (train.start, train.stop)
    batches = list(windows)
    assert len(batches) == len(windows)
    assert max(int(batch.lengths.max()) for batch in batches) <= num_steps + 1
    assert min(int(batch.lengths.min()) for batch in batches) >= 2
    want = wanted(store, catalogue, start, stop)
    assert want.total() == int((stop - start - 1).sum()) > 100
    assert pairs(batches) == want
    assert windows.skipped_events == int((stop - start == 1).sum())


def test_a_lane_holds_one_session_until_it_is_over(part):
    store, train, catalogue = part
    windows = SessionParallelWindows(store, train, catalogue, SessionParallelWindows.Config(num_lanes=5))
    last: dict[int, tuple[int, int]] = {}
    begun: list[int] = []
    widths = []
    for batch in windows:
        lanes = batch.features["lane"][batch.user_offsets[:-1]].tolist()
        assert lanes == sorted(set(lanes))
        for row, lane in enumerate(lanes):
            start, stop = int(batch.user_offsets[row]), int(batch.user_offsets[row + 1])
            ends = [(int(batch.time_ms[at]), int(batch.item_idx[at])) for at in (start, stop - 1)]
            if batch.features["continues"][start]:
                assert last[lane] == ends[0]
            else:
                begun.append(ends[0][0])
            last[lane] = ends[1]
        widths.append(len(lanes))
    assert begun == sorted(begun), "sessions go in by the time they begin"
    assert widths == sorted(widths, reverse=True), "lanes fall away at the end and only there"
    assert widths[0] == 5


def test_sessions_take_the_lane_that_is_free_first():
    lane, begin = in_lanes(np.array([2, 1, 1, 5, 1, 1]), 2)
    # Lane 0: row 0 in the steps 0 and 1, row 3 in 2 … 6. Lane 1: rows 1, 2, 4 and 5 in the steps 0, 1, 2 and 3.
    assert lane.tolist() == [0, 1, 1, 0, 1, 1]
    assert begin.tolist() == [0, 0, 1, 2, 2, 3]


def test_batches_by_hand(make_store):
    """User a has sessions of three and two events, b one of three that begins between them, c one event."""
    hour = 3_600_000
    events = [("a", "x", 0), ("a", "y", 1), ("a", "z", 2), ("a", "x", 5 * hour), ("a", "z", 5 * hour + 1)]
    events += [("b", "y", hour), ("b", "x", hour + 1), ("b", "w", hour + 2), ("c", "w", 3 * hour)]
    log = pl.DataFrame(events, schema=["user_id", "item_id", "timestamp"], orient="row")
    store = make_store(log.with_columns(pl.col("timestamp") + 10**12))
    part = split(store, GlobalTime(test_share=0.01, valid_share=0.01))
    users = np.asarray(store.user_offsets)
    whole = Ranges(user_idx=np.arange(3), start=users[:-1], stop=users[1:])
    windows = SessionParallelWindows(store, whole, part.catalogue, SessionParallelWindows.Config(num_lanes=2))
    rows = [
        [
            (
                int(batch.features["lane"][a]),
                bool(batch.features["continues"][a]),
                batch.time_ms[a:b].sub(10**12).tolist(),
            )
            for a, b in zip(batch.user_offsets.tolist(), batch.user_offsets.tolist()[1:])
        ]
        for batch in windows
    ]
    assert rows == [
        [(0, False, [0, 1]), (1, False, [hour, hour + 1])],
        [(0, True, [1, 2]), (1, True, [hour + 1, hour + 2])],
        [(0, False, [5 * hour, 5 * hour + 1])],
    ]
    assert windows.skipped_events == 1


def test_epochs_are_alike(part):
    windows = SessionParallelWindows(*part, SessionParallelWindows.Config(num_lanes=3))
    first = [batch.item_idx.tolist() for batch in windows]
    windows.set_epoch(1)
    assert [batch.item_idx.tolist() for batch in windows] == first


def test_what_session_parallel_windows_refuse(part):
    for name, value, least in (("num_lanes", 0, 1), ("num_steps", 0, 1), ("min_len", 1, 2), ("max_len", 0, 1)):
        with pytest.raises(ConfigError, match=rf"{name} \({value}\) must be at least {least}"):
            SessionParallelWindows.Config(**{name: value})
    with pytest.raises(DataError, match=r"must have a session with 90 events \(min_len\); it has none"):
        SessionParallelWindows(*part, SessionParallelWindows.Config(min_len=90))
