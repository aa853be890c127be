from __future__ import annotations

import pytest
import torch

from hpgr.core.batch import Candidates, History
from hpgr.training.batches import EpochBatches, Position, moved, tokens_of
from hpgr.training.meter import Meter


def items(batches):
    return [batch.item_idx.tolist() for batch in batches]


def test_gives_what_is_left_of_the_epoch_at_which_training_stands(toy_batches):
    position = Position()
    feed = EpochBatches(toy_batches(4), position, None)
    first = items(feed)
    assert len(first) == 4
    position.next_step()
    position.next_step()
    assert items(feed) == first[2:]
    position.next_epoch()
    second = items(feed)
    assert len(second) == 4
    assert second != first
    assert (position.epoch, position.step_in_epoch, position.step) == (1, 0, 2)


def test_a_limit_counts_from_the_epochs_start(toy_batches):
    feed = EpochBatches(toy_batches(4), Position(step_in_epoch=2), 3)
    assert len(items(feed)) == 1
    assert feed.steps == 3


def test_events_and_candidates_are_counted_and_moved():
    history = History.from_lists([[1, 2], [3]])
    candidates = Candidates.from_lists([[4], [5, 6]], now_ms=history.now_ms)
    assert tokens_of(history) == 3
    assert tokens_of((history, candidates)) == 6
    on_meta = moved((history, candidates), torch.device("meta"))
    assert [part.item_idx.device.type for part in on_meta] == ["meta", "meta"]
    assert moved(history, torch.device("meta")).now_ms.device.type == "meta"


def test_a_mean_counts_only_the_calls_that_had_the_name():
    meter = Meter()
    meter.add({"loss": torch.tensor(1.0), "rare": torch.tensor(5.0)})
    meter.add({"loss": torch.tensor(2.0)})
    assert meter.means() == {"loss": 1.5, "rare": 5.0}
    other = Meter()
    other.restore(meter.state(), torch.device("cpu"))
    other.add({"loss": torch.tensor(6.0)})
    assert other.means() == {"loss": pytest.approx(3.0), "rare": 5.0}
    other.clear()
    assert other.means() == {}
