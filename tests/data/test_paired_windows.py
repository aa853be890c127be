"""Windows that are prefixes of each other, and partners that end in the same item."""

from __future__ import annotations

from collections import Counter

import numpy as np
import polars as pl
import pytest
import torch

from hpgr.api.material import Material
from hpgr.core.errors import ConfigError
from hpgr.data.paired_windows import PairedWindows
from hpgr.data.session_parallel import SessionParallelWindows
from hpgr.data.split import split
from hpgr.data.split_rules import GlobalTime, LeaveOneOut
from hpgr.data.windows import TrainWindows
from hpgr.models.gru4rec import gru4rec
from hpgr.models.icsrec import icsrec
from hpgr.training.batches import EpochBatches, Position
from hpgr.training.run import Run

CONFIG = TrainWindows.Config(max_len=7, batch_tokens=60, sampling="prefixes")


@pytest.fixture
def part(make_store, random_log):
    store = make_store(random_log)
    found = split(store, GlobalTime())
    return store, found.train, found.catalogue


def paired(part, **options) -> PairedWindows:
    return PairedWindows(TrainWindows(*part, CONFIG, seed=1, **options), *part, seed=1)


def rows(history) -> list[list[int]]:
    return [row.tolist() for row in history.item_idx.split(history.lengths.tolist())]


@pytest.mark.parametrize("length", [4, 5, 9])
def test_a_user_of_n_events_gives_n_minus_3_targets_and_none_of_the_last_two(make_store, length):
    """Leave-one-out keeps two events back; each one left but the first is the end of one prefix."""
    log = pl.DataFrame({"user_id": [1] * length, "item_id": range(length), "timestamp": 10**12 + np.arange(length)})
    store = make_store(log)
    found = split(store, LeaveOneOut())
    windows = TrainWindows(
        store, found.train, found.catalogue, TrainWindows.Config(max_len=50, sampling="prefixes"), seed=1
    )
    made = [row for history in windows for row in rows(history)]
    assert sorted(made, key=len) == [list(range(n)) for n in range(2, length - 1)]
    assert len(made) == length - 3


def test_prefixes_longer_than_a_window_keep_the_newest_events(part):
    store, train, catalogue = part
    made = [row for history in TrainWindows(*part, CONFIG, seed=1) for row in rows(history)]
    want = []
    for start, stop in zip(train.start, train.stop):
        items = catalogue.rows(np.asarray(store.item_idx)[start:stop]).tolist()
        want += [items[max(0, end - 7) : end] for end in range(2, len(items) + 1)]
    assert sorted(made) == sorted(want)
    assert max(map(len, made)) == 7


def test_both_rows_end_in_the_same_item_and_only_a_lonely_one_is_its_own_partner(part):
    store, train, catalogue = part
    last = [p for a, b in zip(train.start, train.stop) for p in range(a + 1, b)]
    count = Counter(catalogue.rows(np.asarray(store.item_idx)[last]).tolist())
    own = 0
    for history, partners in paired(part):
        assert history.num_users == partners.num_users
        ends, others = (h.item_idx[h.user_offsets[1:] - 1] for h in (history, partners))
        assert torch.equal(ends, others)
        assert (partners.lengths >= 2).all()
        assert int(partners.lengths.max()) <= 7
        assert (partners.now_ms == partners.time_ms[partners.user_offsets[1:] - 1]).all()
        for row, other, moment, of_other in zip(
            rows(history), rows(partners), history.now_ms.tolist(), partners.now_ms.tolist()
        ):
            if (row, moment) == (other, of_other):
                own += count[row[-1]] > 1
    # Two users may do the same at the same moment; a row's own place is never drawn.
    assert own <= 2
    assert 1 in count.values()


def test_any_other_place_of_the_item_is_as_likely(make_store):
    log = pl.DataFrame(
        {
            "user_id": np.repeat(range(5), 3),
            "item_id": [x for u in range(5) for x in (10 + u, 99, 50 + u)],
            "timestamp": 10**12 + np.arange(15),
        }
    )
    store = make_store(log)
    whole = split(store, LeaveOneOut(train_on_validation=True))
    windows = TrainWindows(store, whole.train, whole.catalogue, TrainWindows.Config(sampling="prefixes"), seed=1)
    batches, seen = PairedWindows(windows, store, whole.train, whole.catalogue, seed=1), Counter()
    for epoch in range(300):
        batches.set_epoch(epoch)
        for history, partners in batches:
            seen.update((a[0], b[0]) for a, b in zip(rows(history), rows(partners)))
    assert len(seen) == 5 * 4
    assert all(a != b for a, b in seen)
    # 300 draws of one in four: 75 ± 4 deviations.
    assert max(abs(count - 75) for count in seen.values()) < 35


@pytest.mark.parametrize("shuffle_ties", [False, True])
def test_the_same_seed_epoch_and_any_workers_give_the_same_pairs(part, shuffle_ties):
    plain = list(paired(part, shuffle_ties=shuffle_ties))
    assert len(plain) == len(paired(part)) > 5
    for workers in (0, 2):
        again = EpochBatches(paired(part, shuffle_ties=shuffle_ties), Position(), None, workers)
        for one, other in zip(again, plain, strict=True):
            assert all(torch.equal(a.item_idx, b.item_idx) for a, b in zip(one, other))
    other = paired(part, shuffle_ties=shuffle_ties)
    other.set_epoch(1)
    assert [rows(b) for _, b in other] != [rows(b) for _, b in plain]


def test_a_model_that_compares_pairs_gets_them_and_lanes_are_refused(make_store, random_log):
    material = Material.of(make_store(random_log), GlobalTime())
    (stage,) = icsrec(dim=8).build(num_items=len(material.split.catalogue)).stages()
    assert stage.batches == "pairs"
    assert isinstance(material.training_batches(stage, Run(model=None)), PairedWindows)
    model = gru4rec(dim=8)
    model = type(model)(
        items=model.items, encoder=model.encoder, objective=model.objective, auxiliary=icsrec().auxiliary
    )
    (stage,) = model.build(num_items=len(material.split.catalogue)).stages()
    run = Run(model=model, windows=SessionParallelWindows.Config())
    with pytest.raises(
        ConfigError, match=r"windows \(session-parallel\) must be TrainWindows for a model that compares"
    ):
        material.training_batches(stage, run)
