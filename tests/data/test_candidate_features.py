"""Candidate features against a plain definition, and the proof that none sees the future."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from hpgr.core.errors import ConfigError, UnknownNameError
from hpgr.data.features import FEATURES, Asked, Past, available_features, candidate_features
from hpgr.data.item_clock import ItemClock
from hpgr.data.ranges import flat_index, lower_bound, offsets_from

HOUR, DAY = 3_600_000, 86_400_000
ITEMS = pl.DataFrame(
    {
        "item_id": range(25),
        "categories": [[f"k{i % 4}", "odd" if i % 2 else "even"] if i % 5 else [] for i in range(25)],
    }
)


def ask(store, now_ms: int, num: int = 40) -> tuple[Asked, Past]:
    """``num`` candidates of random users, all at ``now_ms``, and the users' events before it."""
    rng = np.random.default_rng(2)
    users = np.arange(store.num_users)
    start, end = store.user_offsets[:-1], store.user_offsets[1:]
    stop = lower_bound(store.time_ms, start, end, np.full(len(users), now_ms))
    at = flat_index(start, stop)
    past = Past(
        item_rows=store.item_idx[at].astype(np.int64), time_ms=store.time_ms[at], offsets=offsets_from(stop - start)
    )
    rows = rng.integers(-1, len(store.items), num)
    asked = Asked(
        item_rows=rows, user=rng.choice(users, num), now_ms=np.full(num, now_ms), is_cold=rng.random(num) < 0.5
    )
    return asked, past


def plainly(store, asked: Asked, past: Past, c: int) -> dict[str, float]:
    """The features of candidate ``c``, by looking at every event."""
    row, now = int(asked.item_rows[c]), int(asked.now_ms[c])
    own = slice(past.offsets[asked.user[c]], past.offsets[asked.user[c] + 1])
    mine = [int(t) for i, t in zip(past.item_rows[own], past.time_ms[own]) if i == row and row >= 0]
    chosen = [int(t) for i, t in zip(store.item_idx, store.time_ms) if i == row and t < now]
    shown, clicked = [], []
    x = store.exposures
    for r, moment in enumerate(x.request_time_ms):
        for e in range(x.offsets[r], x.offsets[r + 1]):
            if x.item_idx[e] == row and moment < now:
                shown.append(int(moment))
                clicked += [int(moment)] * int(x.label[e])
    kinds = store.item_table["categories"].to_list()
    recent = past.item_rows[own][-50:]
    match = [bool(row >= 0 and set(kinds[row]) & set(kinds[i])) for i in recent]

    def within(times: list[int], window: int) -> int:
        return sum(t > now - window for t in times)

    seen = chosen + shown
    return {
        "times_seen": math.log1p(len(mine)),
        "since_seen": math.log1p((now - mine[-1]) / HOUR) if mine else 10.0,
        "age": math.log1p((now - min(seen)) / HOUR) if seen else 0.0,
        "is_new": float(not seen),
        "is_cold": float(asked.is_cold[c]),
        "popularity": math.log1p(len(chosen)),
        "popularity_day": math.log1p(within(chosen, DAY)),
        "popularity_hour": math.log1p(within(chosen, HOUR)),
        "shown_day": math.log1p(within(shown, DAY)),
        "shown_hour": math.log1p(within(shown, HOUR)),
        "click_rate_day": (within(clicked, DAY) + 1) / (within(shown, DAY) + 10),
        "category_match": sum(match) / len(match) if len(match) else 0.0,
    }


@pytest.mark.parametrize("quantile", [0.02, 0.5, 0.95])
def test_every_feature_against_the_plain_definition(make_store, shown_log, quantile):
    store = make_store(shown_log, items=ITEMS)
    clock = ItemClock.build(store)
    # The moment of an event, so that strictness matters.
    now = int(np.sort(store.time_ms)[int(len(store.time_ms) * quantile)])
    asked, past = ask(store, now)
    got = candidate_features(tuple(FEATURES), clock, asked, past)
    want = [list(plainly(store, asked, past, c).values()) for c in range(len(asked.item_rows))]
    assert list(plainly(store, asked, past, 0)) == list(FEATURES)
    assert len(FEATURES) == 12
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_nothing_from_now_on_changes_a_feature(make_store, shown_log):
    now = int(shown_log["timestamp"].sort()[500])
    # Whoever was there stays there, so that both stores number users and items alike.
    later = pl.col("timestamp") >= now
    rng = np.random.default_rng(0)
    altered = shown_log.with_columns(
        item_id=pl.when(later).then(pl.Series(rng.integers(0, 25, len(shown_log)))).otherwise("item_id"),
        timestamp=pl.when(later)
        .then(now + pl.Series(rng.integers(0, 9 * HOUR, len(shown_log))))
        .otherwise("timestamp"),
        label=pl.when(later).then(1 - pl.col("label")).otherwise("label"),
    )
    found = []
    for log in (shown_log, altered):
        store = make_store(log, items=ITEMS)
        assert (store.num_users, store.num_items) == (20, 25)
        found.append(candidate_features(tuple(FEATURES), ItemClock.build(store), *ask(store, now)))
        found.append(candidate_features(tuple(FEATURES), ItemClock.build(store), *ask(store, now + 20 * HOUR)))
    assert (found[0] == found[2]).all()
    assert (found[1] != found[3]).any()


def test_lists_of_one_instant_do_not_see_each_other(make_store):
    shown = pl.DataFrame(
        {
            "user_id": [1, 1, 2, 2],
            "item_id": ["a", "b", "a", "b"],
            "timestamp": [10**12] * 4,
            "label": [1.0, 0.0, 1.0, 0.0],
        }
    )
    earlier = pl.DataFrame({"user_id": [3], "item_id": ["b"], "timestamp": [10**12 - HOUR], "label": [1.0]})
    store = make_store(pl.concat([earlier, shown]))
    asked, past = ask(store, 10**12)
    names = ("is_new", "popularity", "shown_day", "click_rate_day")
    got = candidate_features(names, ItemClock.build(store), asked, past)
    want = {-1: [1, 0, 0, 0.1], 0: [1, 0, 0, 0.1], 1: [0, math.log(2), math.log(2), 2 / 11]}
    np.testing.assert_allclose(got, [want[i] for i in asked.item_rows.tolist()], rtol=1e-6)
    assert set(asked.item_rows.tolist()) == {-1, 0, 1}


def test_category_match_looks_at_the_newest_fifty_events(make_store):
    chosen = ["other"] * 10 + ["near", "far"] * 25
    log = pl.DataFrame({"user_id": [1] * 60, "item_id": chosen, "timestamp": [10**12 + i for i in range(60)]})
    items = pl.DataFrame({"item_id": ["far", "near", "other"], "categories": [["x"], ["y"], ["y", "z"]]})
    store = make_store(log, items=items)
    asked, past = ask(store, 10**12 + 60)
    got = candidate_features(("category_match",), ItemClock.build(store), asked, past)[:, 0]
    want = {-1: 0.0, 0: 0.5, 1: 0.5, 2: 0.5}
    assert got.tolist() == [want[i] for i in asked.item_rows.tolist()]
    assert set(asked.item_rows.tolist()) == set(want)


def test_features_are_in_the_order_of_their_names_and_may_be_none(make_store, shown_log):
    store = make_store(shown_log)
    clock, (asked, past) = ItemClock.build(store), ask(store, int(store.time_ms.max()))
    assert candidate_features((), clock, asked, past).shape == (40, 0)
    two = candidate_features(("age", "is_cold"), clock, asked, past)
    assert (two == candidate_features(("is_cold", "age"), clock, asked, past)[:, ::-1]).all()


def test_a_feature_that_the_log_cannot_give_is_refused(make_store, random_log):
    store = make_store(random_log)
    clock, (asked, past) = ItemClock.build(store), ask(make_store(random_log), int(store.time_ms.max()))
    assert available_features(clock) == tuple(FEATURES)[:8]
    with pytest.raises(
        ConfigError, match=r"candidate feature \(shown_day\) must have exposures in the log, which has none"
    ):
        candidate_features(("shown_day",), clock, asked, past)
    with pytest.raises(ConfigError, match=r"candidate feature \(category_match\) must have item categories in the log"):
        candidate_features(("category_match",), clock, asked, past)
    with pytest.raises(UnknownNameError, match="no candidate feature is named 'popularty'; did you mean popularity"):
        candidate_features(("popularty",), clock, asked, past)
