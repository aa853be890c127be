"""Stochastic length: how much stays agrees with the closed form, what stays prefers the recent, and windows are drawn anew."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hpgr.core.batch import History
from hpgr.core.errors import ConfigError
from hpgr.data.split import split
from hpgr.data.split_rules import GlobalTime
from hpgr.data.thinning import kept_events, kept_lengths, thin_length, thinned
from hpgr.data.windows import TrainWindows

PLAIN = TrainWindows.Config(max_len=12, batch_tokens=60)
THIN = TrainWindows.Config(max_len=12, batch_tokens=60, stochastic_length=1.2)


@pytest.fixture
def part(make_store, random_log):
    store = make_store(random_log)
    found = split(store, GlobalTime())
    return store, found.train, found.catalogue


def read(part, config, *, epoch=0, seed=1, shard=(0, 1)) -> list[tuple[int, ...]]:
    """The windows of an epoch, each as its events' times."""
    windows = TrainWindows(*part, config, seed=seed, shard=shard)
    windows.set_epoch(epoch)
    batches = list(windows)
    assert all(history.num_events <= config.batch_tokens for history in batches)
    return [tuple(row.tolist()) for h in batches for row in h.time_ms.split(h.lengths.tolist())]


@pytest.mark.parametrize("alpha", [1.2, 1.6, 1.9])
def test_mean_length_and_mean_square_follow_the_closed_form(alpha):
    rng = np.random.default_rng(0)
    lengths = np.minimum(1 + rng.pareto(0.7, 400_000) * 20, 1000).astype(np.int64)
    least = thin_length(1000, alpha)
    kept = kept_lengths(lengths, least, rng.random(len(lengths)))
    full = np.minimum(1, (least / lengths) ** 2)
    short = np.minimum(lengths, least)
    assert kept.mean() == pytest.approx((full * lengths + (1 - full) * short).mean(), rel=0.01)
    square = (full * lengths**2 + (1 - full) * short**2).mean()
    assert (kept**2).mean() == pytest.approx(square, rel=0.01)
    # Attention costs no more than two thinned windows, however long they were.
    assert square <= 2 * 1000**alpha
    assert (lengths**2).mean() > 1.1 * square


def test_an_alpha_of_2_keeps_every_window_whole():
    lengths = np.arange(1, 201)
    assert thin_length(200, 2.0) == 200
    assert (kept_lengths(lengths, 200, np.full(200, 0.999999)) == lengths).all()


def test_thinned_lengths_by_hand():
    # 4² / 8² = 0.25 of windows of eight events stay whole; 0.64 of those of five.
    got = kept_lengths(np.array([4, 8, 8, 5, 5]), 4, np.array([0.99, 0.24, 0.26, 0.63, 0.65]))
    assert got.tolist() == [4, 8, 4, 5, 4]


def test_events_are_drawn_by_how_recent_they_are_and_the_newest_stays():
    rows = 20_000
    time_ms = np.tile([0, 5, 10], rows)
    draw = np.random.default_rng(1).random(3 * rows)
    keep = kept_events(time_ms, np.arange(rows + 1) * 3, np.full(rows, 2), draw).reshape(rows, 3)
    assert (keep.sum(1) == 2).all()
    assert keep[:, 2].all()
    # Weights 1 - 10/15 and 1 - 5/15 for the one place that is left.
    assert keep[:, 0].mean() == pytest.approx(1 / 3, abs=0.01)


def test_simultaneous_events_are_drawn_alike_and_full_rows_stay():
    rows = 9_000
    draw = np.random.default_rng(2).random(4 * rows)
    keep = kept_events(np.full(4 * rows, 7), np.arange(rows + 1) * 4, np.full(rows, 2), draw).reshape(rows, 4)
    assert keep.mean(0).tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1], abs=0.02)
    assert kept_events(np.arange(5), np.array([0, 4, 5]), np.array([4, 1]), draw[:5]).all()


def test_a_thinned_history_by_hand():
    history = History.from_lists(
        [[1, 2, 3, 4], [5, 6, 7]], sessions=[[0, 0, 1, 2], [0, 1, 1]], actions=[[1, 2, 3, 4], [5, 6, 7]]
    )
    got = thinned(history, np.array([True, False, False, True, False, True, True]))
    assert got.item_idx.tolist() == got.action.tolist() == [1, 4, 6, 7]
    assert got.time_ms.tolist() == [0, 3000, 1000, 2000]
    assert got.user_offsets.tolist() == [0, 2, 4]
    assert got.session_offsets.tolist() == [0, 1, 2, 4]
    assert torch.equal(got.now_ms, history.now_ms)


def test_windows_are_thinned_anew_in_each_epoch_and_end_where_they_did(part):
    whole, thin = read(part, PLAIN), read(part, THIN)
    assert sum(map(len, thin)) < 0.9 * sum(map(len, whole))
    assert sorted(row[-1] for row in thin) == sorted(row[-1] for row in whole)
    lengths = {len(row) for row in thin}
    assert max(lengths) > thin_length(12, 1.2) == 4
    left = sorted(whole, key=lambda row: row[-1])
    for row in thin:
        assert any(set(row) <= set(candidate) for candidate in left)
    assert thin == read(part, THIN)
    assert sorted(thin) != sorted(read(part, THIN, epoch=1))
    assert sorted(thin) != sorted(read(part, THIN, seed=2))


def test_each_epoch_thins_the_same_windows_otherwise(part):
    whole = replace(PLAIN, max_len=40)
    assert sorted(read(part, whole)) == sorted(read(part, whole, epoch=1))
    thin = replace(whole, stochastic_length=1.2)
    assert sorted(read(part, thin)) != sorted(read(part, thin, epoch=1))


@pytest.mark.parametrize("sampling", ["cover", "proportional"])
def test_ranks_read_together_what_one_reads(part, sampling):
    config = TrainWindows.Config(max_len=12, batch_tokens=60, stochastic_length=1.2, sampling=sampling)
    ranks = [read(part, config, shard=(rank, 3)) for rank in range(3)]
    assert sorted(row for rank in ranks for row in rank) == sorted(read(part, config))


def test_an_alpha_out_of_its_range_is_refused():
    for alpha in (1.0, 2.1):
        with pytest.raises(ConfigError, match=rf"stochastic_length \({alpha}\) must lie in \(1, 2\]"):
            TrainWindows.Config(stochastic_length=alpha)
