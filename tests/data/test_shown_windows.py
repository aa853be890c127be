"""What was shown goes to the session it was shown in, to no other, and never from after the training part."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
import torch

from hpgr.api.material import Material
from hpgr.core.errors import ConfigError
from hpgr.core.seeds import torch_generator
from hpgr.data.session_parallel import SessionParallelWindows
from hpgr.data.shown_windows import ShownWindows
from hpgr.data.split import split
from hpgr.data.split_rules import GlobalTime
from hpgr.data.windows import TrainWindows
from hpgr.models.gru4rec import gru4rec
from hpgr.models.sessionrec import sessionrec
from hpgr.objectives.exposed_ranking import ExposedRanking
from hpgr.training.batches import EpochBatches, Position
from hpgr.training.run import Run

MINUTE_MS, BEGIN_MS = 60_000, 1_700_000_000_000


def log(events: list[tuple], shown: list[tuple]) -> pl.DataFrame:
    """``(user, item, minute)`` of events, ``(user, item, minute, label)`` of exposures."""
    rows = [(u, i, BEGIN_MS + m * MINUTE_MS, None) for u, i, m in events]
    rows += [(u, i, BEGIN_MS + m * MINUTE_MS, float(y)) for u, i, m, y in shown]
    return pl.DataFrame(
        rows, schema=["user_id", "item_id", "timestamp", "label"], orient="row", infer_schema_length=None
    )


def of_sessions(batch) -> list[list[tuple[int, int]]]:
    """For each session of a batch the items shown in it, with their labels."""
    _, shown = batch
    rows = list(zip(shown.item_idx.tolist(), shown.label[:, 0].tolist()))
    return [rows[a:b] for a, b in zip(shown.offsets[:-1].tolist(), shown.offsets[1:].tolist())]


def test_each_exposure_goes_to_the_session_that_the_rule_says(make_store):
    """Half an hour parts sessions: at 0 and 10; at 100; then one that is held out, and what is shown from then on."""
    events = [("a", 1, 0), ("a", 2, 10), ("a", 3, 100), ("a", 1, 1000), ("b", 4, 5), ("b", 5, 900)]
    shown = [
        ("a", 4, -20, 0),  # before the first event, within half an hour of it
        ("a", 5, 5, 0),
        ("a", 3, 35, 0),  # 25 minutes after the first session's last event
        ("a", 2, 55, 0),  # far from both
        ("a", 4, 75, 0),  # 25 minutes before the second session's event
        ("a", 2, 100, 0),  # at the moment of an event
        ("a", 3, 1000, 0),  # held out
        ("b", 3, 6, 0),
        ("b", 99, 7, 0),  # nobody chose it
    ]
    store = make_store(log(events, shown))
    border = BEGIN_MS + 800 * MINUTE_MS
    parts = split(store, GlobalTime(valid_from=border, test_from=border))
    windows = TrainWindows(store, parts.train, parts.catalogue, TrainWindows.Config(min_len=1), seed=1)
    (batch,) = ShownWindows(windows, store, parts.train_requests, parts.catalogue)
    history, shown_in = batch
    row = {item: int(parts.catalogue.rows(store.items.rows([item]))[0]) for item in (1, 2, 3, 4)}
    found = dict(
        zip(
            (history.item_idx[a].item() for a in history.session_offsets[:-1].tolist()), of_sessions(batch), strict=True
        )
    )
    outside = len(parts.catalogue)
    assert found == {
        row[1]: [(row[4], 0.0), (outside, 0.0), (row[3], 0.0)],
        row[3]: [(row[4], 0.0), (row[2], 0.0)],
        row[4]: [(row[3], 0.0), (outside, 0.0)],
    }
    assert (shown_in.features.shape, shown_in.weight.tolist()) == ((7, 0), [1.0] * 7)


@pytest.fixture
def crowd(make_store):
    rng = np.random.default_rng(3)
    events = [(u, int(rng.integers(20)), int(m)) for u in range(12) for m in np.sort(rng.integers(0, 2000, 40))]
    shown = [(int(rng.integers(12)), int(rng.integers(20)), int(rng.integers(0, 2000)), k % 4 == 0) for k in range(900)]
    store = make_store(log(events, shown), ties="set")
    return store, split(store, GlobalTime())


def by_hand(store, parts, user: int) -> list[tuple[int, int]]:
    """``(session, item row)`` of what ``user`` was shown in training, by a loop over exposures and events."""
    train = int(parts.train.stop[parts.train.user_idx == user].item())
    start = int(store.user_offsets[user])
    times, session = (
        store.time_ms[start:train],
        np.searchsorted(store.session_offsets, np.arange(start, train), "right"),
    )
    x, gap_ms, found = store.exposures, 30 * MINUTE_MS, []
    for r in parts.train_requests[x.request_user[parts.train_requests] == user]:
        before, after = np.flatnonzero(times <= x.request_time_ms[r]), np.flatnonzero(times > x.request_time_ms[r])
        at = None
        if len(after) and times[after[0]] - x.request_time_ms[r] <= gap_ms:
            at = after[0]
        if len(before) and x.request_time_ms[r] - times[before[-1]] <= gap_ms:
            at = before[-1]
        if at is not None:
            found += [(int(session[at]), int(i)) for i in x.item_idx[x.offsets[r] : x.offsets[r + 1]]]
    return sorted((s, int(parts.catalogue.of_store[i])) for s, i in found)


def test_whole_histories_agree_with_a_loop(crowd):
    store, parts = crowd
    windows = TrainWindows(store, parts.train, parts.catalogue, TrainWindows.Config(), seed=1)
    (batch,) = ShownWindows(windows, store, parts.train_requests, parts.catalogue)
    history, _ = batch
    found, begins = of_sessions(batch), history.user_session_offsets().tolist()
    num_shown = 0
    for b, (first, end) in enumerate(pairwise(begins)):
        events = history.time_ms[history.user_offsets[b] : history.user_offsets[b + 1]].numpy()
        (user,) = (
            u for u in range(12) if np.array_equal(store.time_ms[store.user_offsets[u] :][: len(events)], events)
        )
        rule = store.session_offsets.searchsorted(store.user_offsets[user], "right")
        got = sorted((rule + s - first, item) for s in range(first, end) for item, _ in found[s])
        assert got == by_hand(store, parts, user)
        num_shown += len(got)
    assert num_shown > 300


@pytest.mark.parametrize("options", [{}, {"stochastic_length": 1.5}, {"sampling": "proportional"}], ids=str)
def test_windows_cut_and_thinned_keep_what_their_sessions_saw(crowd, options):
    store, parts = crowd
    config = TrainWindows.Config(max_len=10, batch_tokens=60, **options)
    windows = TrainWindows(store, parts.train, parts.catalogue, config, seed=1)
    batches = ShownWindows(windows, store, parts.train_requests, parts.catalogue)
    assert len(batches) > 3
    num_shown = 0
    for history, shown in batches:
        assert shown.offsets.shape == history.session_offsets.shape
        session = shown.user_of_candidate()
        first, last = history.session_offsets[session], history.session_offsets[session + 1] - 1
        assert (shown.time_ms >= history.time_ms[first] - 30 * MINUTE_MS).all()
        assert (shown.time_ms <= history.time_ms[last] + 30 * MINUTE_MS).all()
        num_shown += shown.num_candidates
    assert num_shown > 100


def test_the_same_epoch_and_any_workers_give_the_same(crowd):
    store, parts = crowd

    def made() -> ShownWindows:
        config = TrainWindows.Config(max_len=10, batch_tokens=60)
        windows = TrainWindows(store, parts.train, parts.catalogue, config, seed=1)
        return ShownWindows(windows, store, parts.train_requests, parts.catalogue)

    plain = list(made())
    for workers in (0, 2):
        again = EpochBatches(made(), Position(), None, workers)
        for one, other in zip(again, plain, strict=True):
            assert torch.equal(one[0].item_idx, other[0].item_idx)
            assert torch.equal(one[1].item_idx, other[1].item_idx)


def stage_and_run(store, config, windows=None):
    material = Material.of(store, GlobalTime())
    (stage,) = config.build(num_items=len(material.split.catalogue)).stages()
    return material, stage, Run(model=config, name="it", windows=windows or TrainWindows.Config())


def test_a_model_that_learns_from_exposures_gets_them(crowd):
    material, stage, run = stage_and_run(crowd[0], sessionrec(dim=8))
    assert isinstance(material.training_batches(stage, run), ShownWindows)
    material, stage, run = stage_and_run(crowd[0], sessionrec(dim=8, alpha=0.0))
    assert (stage.batches, type(material.training_batches(stage, run))) == ("history", TrainWindows)


def test_a_log_without_exposures_is_said_to_teach_none(make_store, random_log):
    material, stage, run = stage_and_run(make_store(random_log), sessionrec(dim=8))
    with pytest.warns(
        UserWarning, match=r"^the part of it that learns from exposures learns nothing: .* has none; prepare"
    ):
        batches = material.training_batches(stage, run)
    history = next(iter(batches))
    found = stage.loss(history, torch_generator(1))
    assert found["loss"].isfinite()
    assert "exposed_ranking" not in found


def test_lanes_are_refused(make_store, random_log):
    config = replace(gru4rec(dim=8), auxiliary=ExposedRanking.Config())
    material, stage, run = stage_and_run(make_store(random_log), config, SessionParallelWindows.Config())
    with pytest.raises(
        ConfigError, match="must be TrainWindows for a model that learns from what was shown in sessions"
    ):
        material.training_batches(stage, run)
