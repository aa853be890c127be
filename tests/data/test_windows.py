"""Training windows: every event once, batches within the budget, the same for every worker."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import polars as pl
import pytest
import torch

from hpgr.api.material import Material
from hpgr.core.batch import History
from hpgr.core.errors import ConfigError, DataError
from hpgr.data.ranges import Ranges
from hpgr.data.split import split
from hpgr.data.split_rules import GlobalTime, LeaveOneOut
from hpgr.data.tie_shuffle import shuffled_ties
from hpgr.data.windows import TrainWindows, covering_windows
from hpgr.models.sasrec import sasrec
from hpgr.training.batches import EpochBatches, Position
from hpgr.training.run import Run

CONFIG = TrainWindows.Config(max_len=7, batch_tokens=40, min_len=2)


@pytest.fixture
def part(make_store, random_log):
    store = make_store(random_log)
    found = split(store, GlobalTime())
    return store, found.train, found.catalogue


def keys(batches) -> list[tuple[int, int]]:
    """Events by time and item; unique in a log whose users never meet."""
    return [k for h in batches for k in zip(h.time_ms.tolist(), h.item_idx.tolist())]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("max_len", "min_len"), [(7, 2), (3, 2), (5, 3), (1, 1), (4, 1)])
def test_windows_cover_each_range_once(seed, max_len, min_len):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(min_len, 40, 50)
    start = np.cumsum(lengths + 3) - lengths
    config = TrainWindows.Config(max_len=max_len, min_len=min_len, batch_tokens=50)
    opens, closes = covering_windows(start, start + lengths, config, rng)
    covered = np.concatenate([np.arange(a, b) for a, b in zip(opens, closes)])
    assert covered.tolist() == np.concatenate([np.arange(s, s + n) for s, n in zip(start, lengths)]).tolist()
    assert min_len <= (closes - opens).min()
    assert (closes - opens).max() <= max_len


def test_each_epoch_holds_every_event_once_at_moving_borders(part):
    store, train, catalogue = part
    windows = TrainWindows(store, train, catalogue, CONFIG, seed=1)
    epochs = []
    for epoch in (0, 1):
        windows.set_epoch(epoch)
        batches = list(windows)
        assert len(batches) == len(windows) > 5
        assert max(h.num_events for h in batches) <= 40
        assert max(int(h.lengths.max()) for h in batches) <= 7
        assert sum(h.num_events for h in batches) == train.num_events - windows.skipped_events
        assert all((h.now_ms == h.time_ms[h.user_offsets[1:] - 1]).all() for h in batches)
        epochs.append(keys(batches))
    assert sorted(epochs[0]) == sorted(epochs[1])
    assert epochs[0] != epochs[1]


def test_the_same_seed_and_epoch_give_the_same_batches(part):
    def read(seed: int) -> list[tuple[int, int]]:
        windows = TrainWindows(*part, CONFIG, seed=seed)
        windows.set_epoch(3)
        return keys(windows)

    assert read(1) == read(1) != read(2)


@pytest.mark.parametrize("sampling", ["cover", "proportional"])
def test_batches_are_the_same_for_any_number_of_workers(part, sampling):
    config = TrainWindows.Config(max_len=9, batch_tokens=60, sampling=sampling, stochastic_length=1.6)
    windows = TrainWindows(*part, config, seed=1, shuffle_ties=True)
    plain = list(windows)
    assert len(plain) > 5
    for workers in (0, 1, 4):
        for one, other in zip(EpochBatches(windows, Position(), None, workers), plain, strict=True):
            columns = [f.name for f in fields(History) if f.name != "features"]
            assert all(torch.equal(getattr(one, name), getattr(other, name)) for name in columns)


def test_a_history_longer_than_a_batch_is_cut_into_windows_and_not_cut_off(make_store):
    log = pl.DataFrame({"user_id": [0] * 1000, "item_id": range(1000), "timestamp": 10**12 + np.arange(1000)})
    store = make_store(log)
    whole = Ranges(user_idx=np.array([0]), start=np.array([0]), stop=np.array([1000]))
    catalogue = split(store, LeaveOneOut()).catalogue
    windows = TrainWindows(store, whole, catalogue, TrainWindows.Config(max_len=50, batch_tokens=120), seed=0)
    for epoch in range(3):
        windows.set_epoch(epoch)
        batches = list(windows)
        assert max(h.num_events for h in batches) <= 120
        times = torch.cat([h.time_ms for h in batches]) - 10**12
        assert times.sort().values.tolist() == list(range(1000))
    assert windows.skipped_events == 0


@pytest.mark.parametrize("world", [2, 3, 7])
@pytest.mark.parametrize("sampling", ["cover", "proportional"])
def test_ranks_get_equally_many_batches_that_make_the_epoch(part, world, sampling):
    config = TrainWindows.Config(max_len=7, batch_tokens=40, sampling=sampling)
    alone = keys(TrainWindows(*part, config, seed=1))
    ranks = [TrainWindows(*part, config, seed=1, shard=(rank, world)) for rank in range(world)]
    assert len({len(windows) for windows in ranks}) == 1
    assert sorted(key for windows in ranks for key in keys(windows)) == sorted(alone)


def test_proportional_windows_follow_the_lengths(make_store):
    users = np.repeat([0, 1], [90, 10])
    log = pl.DataFrame({"user_id": users, "item_id": users, "timestamp": 10**12 + np.arange(100)})
    store = make_store(log)
    ranges = Ranges(user_idx=np.arange(2), start=np.array([0, 90]), stop=np.array([90, 100]))
    from_ranges = split(store, GlobalTime(test_share=0.01, valid_share=0.01)).catalogue
    config = TrainWindows.Config(max_len=5, batch_tokens=5, sampling="proportional")
    windows = TrainWindows(store, ranges, from_ranges, config, seed=0)
    drawn, starts = [], set()
    for epoch in range(50):
        windows.set_epoch(epoch)
        drawn += [int(h.item_idx[0]) for h in windows]
        starts |= {int(h.time_ms[0]) for h in windows}
    assert len(drawn) == 50 * 20
    assert np.mean(np.array(drawn) == 0) == pytest.approx(0.9, abs=0.03)
    assert {10**12, 10**12 + 85, 10**12 + 90, 10**12 + 95} <= starts


def test_batches_hold_windows_of_similar_length(part):
    batches = list(TrainWindows(*part, CONFIG, seed=1))
    spread = [int(h.lengths.max() - h.lengths.min()) for h in batches]
    assert np.mean(spread) < 2


def test_what_windows_refuse(part):
    with pytest.raises(ConfigError, match=r"min_len \(0\) must be at least 1"):
        TrainWindows.Config(min_len=0)
    with pytest.raises(ConfigError, match=r"max_len \(2\) must be at least 2 \* min_len - 1 \(3\)"):
        TrainWindows.Config(max_len=2, min_len=2)
    with pytest.raises(ConfigError, match=r"batch_tokens \(10\) must be at least max_len \(200\)"):
        TrainWindows.Config(batch_tokens=10)
    with pytest.raises(ConfigError, match=r"sampling \(all\) must be one of cover, proportional, prefixes"):
        TrainWindows.Config(sampling="all")
    with pytest.raises(DataError, match=r"must have a user with 90 events \(min_len\); it has none"):
        TrainWindows(*part, TrainWindows.Config(min_len=90), seed=0)
    with pytest.raises(DataError, match=r"must have at least one for each of 5000 ranks"):
        len(TrainWindows(*part, CONFIG, seed=0, shard=(0, 5000)))


def test_ties_that_are_a_set_come_in_another_order_each_epoch_and_nothing_else_moves(part):
    store, train, catalogue = part
    apart = History.from_lists([[1, 2, 3, 4, 5, 6]], times_ms=[[0, 9, 9, 9, 9, 20]], sessions=[[0, 0, 0, 1, 1, 1]])
    mixed = shuffled_ties(apart, np.array([0.9, 0.8, 0.1, 0.7, 0.2, 0.0]))
    assert mixed.item_idx.tolist() == [1, 3, 2, 5, 4, 6]
    assert torch.equal(mixed.time_ms, apart.time_ms)
    windows = TrainWindows(store, train, catalogue, CONFIG, seed=1, shuffle_ties=True)
    plain = TrainWindows(store, train, catalogue, CONFIG, seed=1)
    orders = []
    for epoch in (0, 1, 0):
        windows.set_epoch(epoch)
        plain.set_epoch(epoch)
        for one, other in zip(windows, plain):
            assert torch.equal(one.time_ms, other.time_ms)
            assert sorted(keys([one])) == sorted(keys([other]))
        orders.append([h.item_idx.tolist() for h in windows])
    assert orders[0] == orders[2]


@pytest.mark.parametrize(("ties", "moves"), [("set", True), ("file", False)])
def test_a_store_says_whether_its_ties_are_shuffled(make_store, ties, moves):
    rows = {"user_id": [u for u in range(40) for _ in range(6)], "item_id": list(range(6)) * 40}
    log = pl.DataFrame(rows).with_columns(timestamp=pl.lit(1_700_000_000) + pl.int_range(pl.len()) % 6 // 3 * 60)
    store = make_store(log, ties=ties)
    material = Material.of(store, LeaveOneOut())
    run = Run(model=sasrec())
    stage = run.model.build(num_items=len(material.split.catalogue)).stages()[0]
    batches = material.training_batches(stage, run)
    first = [h.item_idx.tolist() for h in batches]
    batches.set_epoch(1)
    assert (sorted(map(str, first)) != sorted(str(h.item_idx.tolist()) for h in batches)) == moves
