"""Ranking batches: what was shown, or a positive among sampled negatives; training and evaluation alike."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from hpgr.core.errors import ConfigError, DataError
from hpgr.core.vocabulary import Vocabulary
from hpgr.data.catalogue import Catalogue
from hpgr.data.features import available_features
from hpgr.data.item_clock import ItemClock
from hpgr.data.negatives import SampledNegatives
from hpgr.data.queries import QueryBatches, RequestQueries, SampledQueries
from hpgr.data.ranking_batch import RankingInput
from hpgr.data.requests import ExposedRequests, SampledRequests
from hpgr.data.sessions import CalendarDay
from hpgr.data.split import split
from hpgr.data.split_rules import GlobalTime, LastSession


@pytest.fixture
def shown(make_store, shown_log):
    store = make_store(shown_log, ties="set")
    found = split(store, GlobalTime(test_share=0.3))
    clock = ItemClock.build(store)
    asked = RankingInput(
        events=store, catalogue=found.catalogue, clock=clock, features=available_features(clock), max_len=6
    )
    return asked, found


def rows_of(batches) -> list[tuple]:
    """One line a request: moment, history, candidates with labels in order of items."""
    lines = []
    for history, candidates in batches:
        for b in range(history.num_users):
            h = slice(history.user_offsets[b], history.user_offsets[b + 1])
            c = slice(candidates.offsets[b], candidates.offsets[b + 1])
            pairs = zip(candidates.item_idx[c].tolist(), candidates.label[c, 0].tolist())
            assert (candidates.time_ms[c] == history.now_ms[b]).all()
            lines.append((int(history.now_ms[b]), tuple(history.time_ms[h].tolist()), tuple(sorted(pairs))))
    return sorted(lines)


def test_exposed_requests_are_the_store_s_own(shown):
    asked, found = shown
    store = asked.events
    batches = list(ExposedRequests(asked, found.train_requests, ExposedRequests.Config(batch_tokens=60), seed=0))
    x, want = store.exposures, []
    for r in found.train_requests:
        u, now = int(x.request_user[r]), int(x.request_time_ms[r])
        events = [int(t) for t in store.time_ms[store.user_offsets[u] : store.user_offsets[u + 1]] if t < now][-6:]
        c = slice(x.offsets[r], x.offsets[r + 1])
        known = [i if bool((store.time_ms[store.item_idx == i] < now).any()) else -1 for i in x.item_idx[c].tolist()]
        pairs = zip(found.catalogue.rows(np.array(known)).tolist(), x.label[c].tolist())
        want.append((now, tuple(events), tuple(sorted(pairs))))
    assert rows_of(batches) == sorted(want)
    assert len(batches) > 3
    assert max(h.num_events + c.num_candidates for h, c in batches) <= 60
    assert all(c.weight.eq(1).all() and c.features.shape[1] == len(asked.features) for _, c in batches)


def test_the_catalogue_does_not_tell_a_first_click(make_store):
    """Every item is shown twice, by two people; both take it, and the first click puts it into the catalogue."""
    hour = 3_600_000
    rows = [(user, f"i{k}", 10**12 + (2 * k + user) * hour, 1.0) for k in range(20) for user in (0, 1)]
    rows += [(user, f"no{k}", 10**12 + (2 * k + user) * hour, 0.0) for k in range(20) for user in (0, 1)]
    store = make_store(pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp", "label"], orient="row"))
    found = split(store, GlobalTime(test_share=0.2))
    asked = RankingInput(events=store, catalogue=found.catalogue, clock=ItemClock.build(store))
    outside = {0.0: [], 1.0: []}
    for _, c in ExposedRequests(asked, found.train_requests, ExposedRequests.Config(), seed=0):
        for row, label in zip(c.item_idx.tolist(), c.label[:, 0].tolist()):
            outside[label].append(row == len(found.catalogue))
    assert np.mean(outside[0.0]) == 1
    assert 0.4 < np.mean(outside[1.0]) < 0.6, "a first click is made on an item that nobody had clicked"


def test_requests_are_shuffled_by_seed_and_epoch_and_shared_by_ranks(shown):
    asked, found = shown
    config = ExposedRequests.Config(batch_tokens=60)

    def read(seed: int, epoch: int, shard: tuple[int, int] = (0, 1)):
        requests = ExposedRequests(asked, found.train_requests, config, seed=seed, shard=shard)
        requests.set_epoch(epoch)
        batches = list(requests)
        assert len(batches) == len(requests)
        return batches

    def raw(batches):
        return [c.item_idx.tolist() for _, c in batches]

    assert raw(read(1, 0)) == raw(read(1, 0))
    assert raw(read(1, 0)) != raw(read(1, 1))
    assert raw(read(1, 0)) != raw(read(2, 0))
    ranks = [read(1, 0, (rank, 3)) for rank in range(3)]
    assert len({len(batches) for batches in ranks}) == 1
    assert rows_of([b for batches in ranks for b in batches]) == rows_of(read(1, 0))
    first = [float(c.label[o, 0]) for _, c in read(1, 0) for o in c.offsets[:-1].tolist()]
    assert 0.1 < np.mean(first) < 0.4


@pytest.mark.parametrize("sampler", ["uniform", "popularity"])
def test_sampled_requests_hold_the_choice_and_what_it_is_not(shown, sampler):
    asked, found = shown
    config = SampledRequests.Config(
        negatives=SampledNegatives(negatives=5, sampler=sampler), positives_per_user=3, batch_tokens=60
    )
    requests = SampledRequests(asked, found.train, config, seed=0)
    assert requests.name == f"sampled[{sampler} 5]"
    moments, firsts = [], []
    for epoch in range(4):
        requests.set_epoch(epoch)
        for history, candidates in requests:
            sizes, positives = candidates.offsets.diff(), candidates.label[:, 0] == 1
            assert (sizes == 6).all()
            assert int(positives.sum()) == history.num_users
            chosen = torch.repeat_interleave(candidates.item_idx[positives], 6)
            assert ((candidates.item_idx == chosen) == positives).all()
            assert int(candidates.item_idx.max()) < len(found.catalogue)
            assert (history.time_ms < history.now_ms[history.user_of_event()]).all()
            moments += history.now_ms.tolist()
            firsts += positives[candidates.offsets[:-1]].tolist()
    events = np.concatenate([np.arange(a, b) for a, b in zip(found.train.start, found.train.stop)])
    assert set(moments) <= set(asked.events.time_ms[events].tolist())
    assert len(moments) > 4 * len(found.train)
    assert 0.05 < np.mean(firsts) < 0.35


def test_negatives_follow_their_law_and_never_hit_the_positive():
    count = np.array([1, 6, 3])
    catalogue = Catalogue(items=Vocabulary.of(range(3)), of_store=np.arange(3), train_count=count)
    rng = np.random.default_rng(0)
    for sampler, weight in (("uniform", np.ones(3)), ("popularity", count)):
        drawn = SampledNegatives(negatives=2000, sampler=sampler).draw(catalogue, np.array([0, 1, 2, 3]), rng)
        for positive in range(4):
            left = np.where(np.arange(3) == positive, 0, weight)
            shares = np.bincount(drawn[positive], minlength=3) / 2000
            np.testing.assert_allclose(shares, left / left.sum(), atol=0.04)
            assert positive == 3 or shares[positive] == 0


def test_query_batches_are_in_order_and_cover_every_query(make_store, random_log):
    store = make_store(random_log)
    found = split(store, GlobalTime())
    batches = list(QueryBatches(store, found.test, found.catalogue, max_len=5, batch_tokens=50))
    rows = np.concatenate([rows for _, rows in batches])
    assert rows.tolist() == list(range(len(found.test)))
    assert len(batches) > 3
    assert torch.cat([h.now_ms for h, _ in batches]).tolist() == found.test.now_ms.tolist()
    lengths = torch.cat([h.lengths for h, _ in batches])
    assert lengths.tolist() == np.minimum(found.test.stop - found.test.start, 5).tolist()


def test_request_queries_keep_the_order_of_the_store(shown):
    asked, found = shown
    queries = RequestQueries(asked, found.test_requests, batch_tokens=60)
    batches = list(queries)
    assert len(batches) == len(queries) > 3
    assert np.concatenate([rows for _, _, rows in batches]).tolist() == found.test_requests.tolist()
    x = asked.events.exposures
    at = np.concatenate([np.arange(x.offsets[r], x.offsets[r + 1]) for r in found.test_requests])
    assert torch.cat([c.item_idx for _, c, _ in batches]).tolist() == found.catalogue.rows(x.item_idx[at]).tolist()
    assert torch.cat([c.label for _, c, _ in batches])[:, 0].tolist() == x.label[at].tolist()


def test_evaluation_negatives_depend_on_the_seed_alone(shown):
    asked, found = shown

    def read(seed: int, tokens: int) -> list[int]:
        batches = SampledQueries(asked, found.test, SampledNegatives(negatives=9), seed=seed, batch_tokens=tokens)
        assert batches.name == "sampled[uniform 9]"
        return [i for _, c, _ in batches for i in c.item_idx.tolist()]

    assert read(0, 60) == read(0, 500) != read(1, 500)


def test_no_target_of_a_query_is_among_its_negatives(make_store, random_log):
    store = make_store(random_log, sessions=CalendarDay())
    found = split(store, LastSession(targets="all"))
    asked = RankingInput(events=store, catalogue=found.catalogue, clock=ItemClock.build(store))
    several = 0
    for history, candidates, rows in SampledQueries(asked, found.test, SampledNegatives(negatives=50), seed=0):
        for b, q in enumerate(rows):
            c = slice(candidates.offsets[b], candidates.offsets[b + 1])
            item, label = candidates.item_idx[c], candidates.label[c, 0]
            targets = found.test.target_idx[found.test.target_offsets[q] : found.test.target_offsets[q + 1]]
            known = set(found.catalogue.rows(targets).tolist())
            assert set(item[label == 1].tolist()) == known
            assert not known & set(item[label == 0].tolist())
            several += len(targets) > 1
        assert history.num_users == len(rows)
    assert several > 3


def test_cold_candidates_are_marked_and_go_to_the_row_outside(make_store):
    log = pl.DataFrame(
        {
            "user_id": [1, 1, 1, 1],
            "item_id": ["a", "b", "a", "new"],
            "timestamp": [10**12 + i * 10**6 for i in range(4)],
            "label": [None, None, 1.0, 0.0],
        }
    )
    store = make_store(log)
    found = split(store, GlobalTime(valid_from=10**12 + 10**6 + 1, test_from=10**12 + 10**6 + 2))
    asked = RankingInput(
        events=store, catalogue=found.catalogue, clock=ItemClock.build(store), features=("is_cold", "is_new")
    )
    ((_, candidates, _),) = RequestQueries(asked, found.test_requests[-1:])
    assert candidates.item_idx.tolist() == [2]
    assert candidates.features.tolist() == [[1, 1]]


def test_what_requests_refuse(shown, make_store, random_log):
    asked, found = shown
    none = np.zeros(0, dtype=np.int64)
    with pytest.raises(DataError, match=r"training requests \(0\) must be at least one; train on sampled negatives"):
        ExposedRequests(asked, none, ExposedRequests.Config(), seed=0)
    with pytest.raises(ConfigError, match=r"batch_tokens \(0\) must be at least 1"):
        ExposedRequests.Config(batch_tokens=0)
    with pytest.raises(ConfigError, match=r"positives_per_user \(0\) must be at least 1"):
        SampledRequests.Config(positives_per_user=0)
    with pytest.raises(ConfigError, match=r"negatives \(0\) must be at least 1"):
        SampledNegatives(negatives=0)
    with pytest.raises(ConfigError, match=r"sampler \(log\) must be uniform or popularity"):
        SampledNegatives(sampler="log")
    one = Catalogue(items=Vocabulary.of([1]), of_store=np.zeros(1), train_count=np.ones(1, dtype=np.int64))
    with pytest.raises(DataError, match=r"catalogue \(1 item\) must have at least two for negatives to be drawn"):
        SampledNegatives().draw(one, np.array([0]), np.random.default_rng(0))
    with pytest.raises(ConfigError, match=r"max_len \(0\) must be at least 1"):
        RankingInput(events=asked.events, catalogue=asked.catalogue, clock=asked.clock, max_len=0)
    other = ItemClock.build(make_store(random_log))
    with pytest.raises(DataError, match=r"item clock \(\d+ items\) must be of the log the catalogue was made from"):
        RankingInput(events=asked.events, catalogue=asked.catalogue, clock=other)
    without = make_store(random_log)
    asked = RankingInput(events=without, catalogue=split(without, GlobalTime()).catalogue, clock=other)
    with pytest.raises(
        DataError, match=r"exposures \(none\) must be in the store; prepare the log with its label column"
    ):
        RequestQueries(asked, none)
    lone = found.train.user_idx[:1]
    short = type(found.train)(user_idx=lone, start=np.array([0]), stop=np.array([1]))
    with pytest.raises(DataError, match="training part must have a user with 2 events, a history and a choice"):
        SampledRequests(asked, short, SampledRequests.Config(), seed=0)
