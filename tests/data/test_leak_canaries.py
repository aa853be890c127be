"""Canaries for the future that leaks into the past: each falls silent, or speaks, exactly when it should."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import polars as pl
import pytest
import torch

from hpgr.core.errors import DataError
from hpgr.data.features import available_features
from hpgr.data.item_clock import ItemClock
from hpgr.data.leakage import refuse_leaks
from hpgr.data.negatives import SampledNegatives
from hpgr.data.ranges import Queries
from hpgr.data.ranking_batch import RankingInput
from hpgr.data.requests import ExposedRequests, SampledRequests
from hpgr.data.split import Split, split
from hpgr.data.split_rules import GlobalTime, LastSession, LeaveOneOut
from hpgr.data.store import SequenceStore
from hpgr.data.windows import TrainWindows

DAY_MS = 86_400_000
BEGIN_MS = 1_700_000_000_000
MakeStore = Callable[..., SequenceStore]


def trained_on(store: SequenceStore, found: Split) -> list[bytes]:
    """Every byte that training sees: windows, what was shown, sampled candidates with their features, counts."""
    clock = ItemClock.build(store)
    asked = RankingInput(
        events=store, catalogue=found.catalogue, clock=clock, features=available_features(clock), max_len=8
    )
    windows = TrainWindows.Config(max_len=8, batch_tokens=64)
    sampled = SampledRequests.Config(negatives=SampledNegatives(negatives=3, sampler="popularity"), batch_tokens=64)
    batches = [
        *((batch,) for batch in TrainWindows(store, found.train, found.catalogue, windows, seed=1)),
        *ExposedRequests(asked, found.train_requests, ExposedRequests.Config(batch_tokens=64), seed=1),
        *SampledRequests(asked, found.train, sampled, seed=1),
    ]
    parts = [getattr(part, field.name) for batch in batches for part in batch for field in fields(part)]
    tensors = [x for part in parts for x in (part.values() if isinstance(part, dict) else [part])]
    assert len(tensors) > 100
    counts = [found.catalogue.train_count.tobytes(), found.catalogue.items.ids.to_frame().to_numpy().tobytes()]
    return counts + [x.numpy().tobytes() for x in tensors if isinstance(x, torch.Tensor)]


def shuffled_from(log: pl.DataFrame, border_ms: int) -> pl.DataFrame:
    """From ``border_ms`` on users and items of events change places, and so do items of what was shown."""
    rng = np.random.default_rng(0)
    late, chosen = log["timestamp"].to_numpy() >= border_ms, log["label"].is_null().to_numpy()
    changed = {name: log[name].to_numpy().copy() for name in ("user_id", "item_id")}
    for name, group in (("user_id", late & chosen), ("item_id", late & chosen), ("item_id", late & ~chosen)):
        changed[name][group] = rng.permutation(changed[name][group])
    return log.with_columns(**{name: pl.Series(name, values) for name, values in changed.items()})


@pytest.mark.parametrize("ties", ["file", "set"])
def test_what_comes_after_the_border_changes_no_byte_of_training(
    make_store: MakeStore, shown_log: pl.DataFrame, ties: str
) -> None:
    border = int(shown_log["timestamp"].quantile(0.7))  # type: ignore[arg-type]
    rule = GlobalTime(valid_from=border, test_from=border + DAY_MS // 8)
    stores = [make_store(log, ties=ties) for log in (shown_log, shuffled_from(shown_log, border))]
    before, after = (trained_on(store, split(store, rule)) for store in stores)
    assert before == after
    assert split(stores[0], rule).certificate.hash != split(stores[1], rule).certificate.hash
    # The canary is awake: a border a little earlier is another training part, where it does speak.
    earlier = make_store(shuffled_from(shown_log, border - DAY_MS // 8), ties=ties)
    assert trained_on(earlier, split(earlier, rule)) != before


def releases(num_users: int = 300, num_days: int = 100) -> pl.DataFrame:
    """An item a day; a user is there for six days and takes items of the last five, mostly the newest."""
    rng = np.random.default_rng(7)
    begins = rng.integers(5, num_days - 6, num_users)
    day = begins[:, None] + np.arange(6)
    item = day - np.minimum(rng.geometric(0.4, day.shape) - 1, 5)
    return pl.DataFrame(
        {
            "user_id": np.repeat(np.arange(num_users), 6),
            "item_id": item.ravel(),
            "timestamp": BEGIN_MS + day.ravel() * DAY_MS + rng.integers(1, DAY_MS, day.size),
        }
    )


def popularity_hits(store: SequenceStore, found: Split, *, dated: bool) -> float:
    """Share of targets among the five most popular items; ``dated``: an oracle strikes out items not seen before the question."""
    first_ms = np.full(len(store.items), np.iinfo(np.int64).max)
    np.minimum.at(first_ms, np.asarray(store.item_idx), np.asarray(store.time_ms))
    score_QV = np.tile(found.catalogue.train_count.astype(float), (len(found.test), 1))
    if dated:
        score_QV[first_ms[found.catalogue.store_rows()] >= found.test.now_ms[:, None]] = -1.0
    top_QK = np.argsort(-score_QV, axis=1, kind="stable")[:, :5]
    return float((top_QK == found.catalogue.rows(found.test.target_idx)[:, None]).any(1).mean())


def test_when_an_item_was_first_seen_helps_under_leave_one_out_only(make_store: MakeStore) -> None:
    store = make_store(releases())
    last, timed = split(store, LeaveOneOut()), split(store, GlobalTime(targets="last"))
    assert popularity_hits(store, last, dated=True) > popularity_hits(store, last, dated=False) + 0.02
    assert popularity_hits(store, timed, dated=True) == popularity_hits(store, timed, dated=False)
    shares = [part.certificate.facts["train_later_than_a_test_event_share"] for part in (last, timed)]
    assert shares[0] > 0.5
    assert shares[1] == 0.0


RULES = [
    *(GlobalTime(test_share=0.3, targets=targets) for targets in ("first", "last", "successive", "all")),
    LeaveOneOut(),
    LastSession(),
    LastSession(targets="all"),
]


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("ties", ["file", "set"])
def test_a_target_in_its_own_history_raises_an_alarm(
    make_store: MakeStore, random_log: pl.DataFrame, rule: object, ties: str
) -> None:
    # Times alike only by chance: a user who takes one item twice in one moment has a target to come in either.
    store = make_store(random_log.unique(["user_id", "item_id", "timestamp"], maintain_order=True), ties=ties)
    for queries in (split(store, rule).validation, split(store, rule).test):  # type: ignore[arg-type]
        assert len(queries) > 5
        refuse_leaks(store, queries)
        with pytest.raises(DataError, match=rf"history of \d+ of {len(queries)} questions \(user u\d+'s first\) must"):
            refuse_leaks(store, with_target(store, queries))


def with_target(store: SequenceStore, queries: Queries) -> Queries:
    """Histories that go on to the last event at the moment of their question."""
    ends = np.asarray(store.user_offsets)[queries.user_idx + 1]
    times = np.asarray(store.time_ms)
    stop = np.array([s + int((times[s:e] <= now).sum()) for s, e, now in zip(queries.stop, ends, queries.now_ms)])
    assert (stop > queries.stop).all()
    return replace(queries, stop=stop)


def test_one_leaking_question_among_many_is_named(make_store: MakeStore) -> None:
    log = pl.DataFrame(
        {"user_id": [1] * 4 + [2] * 4, "item_id": [1, 2, 3, 4] * 2, "timestamp": BEGIN_MS + np.arange(8)}
    )
    store = make_store(log)
    queries = split(store, LeaveOneOut()).test
    assert (queries.start.tolist(), queries.stop.tolist()) == ([0, 4], [3, 7])
    one = replace(queries, stop=np.array([3, 8]))
    with pytest.raises(DataError, match=r"history of 1 of 2 questions \(user 2's first\) must not hold the target"):
        refuse_leaks(store, one)
    with pytest.raises(DataError, match=r"history of 1 of 2 questions \(user 1's first\) must lie inside its own user"):
        refuse_leaks(store, replace(queries, stop=np.array([5, 7])))
    with pytest.raises(DataError, match=r"history of 1 of 2 questions \(user 1's first\) must end before the question"):
        refuse_leaks(store, replace(queries, now_ms=queries.now_ms - [2, 0]))
    with pytest.raises(DataError, match=r"history of 1 of 2 questions \(user 1's first\) must not hold the target"):
        refuse_leaks(store, replace(queries, target_idx=np.array([0, 3])))


def test_a_simultaneous_event_in_the_history_is_a_leak_where_ties_have_no_order(make_store: MakeStore) -> None:
    log = pl.DataFrame({"user_id": [1] * 4, "item_id": [1, 2, 3, 4], "timestamp": BEGIN_MS + np.array([0, 1, 2, 2])})
    asked = {ties: make_store(log, ties=ties) for ties in ("file", "set")}
    queries = {ties: split(store, LeaveOneOut()).test for ties, store in asked.items()}
    assert [queries[ties].stop.tolist() for ties in ("file", "set")] == [[3], [2]]
    refuse_leaks(asked["file"], queries["file"])
    with pytest.raises(DataError, match=r"history of 1 of 1 questions \(user 1's first\) must end before the question"):
        refuse_leaks(asked["set"], replace(queries["set"], stop=np.array([3])))
