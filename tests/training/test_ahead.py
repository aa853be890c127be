"""Batches made ahead: the same as without workers, in order, with the worker's own error, and no thread left behind."""

from __future__ import annotations

import gc
import threading
import time

import pytest
import torch

from hpgr.core.errors import ConfigError, DataError
from hpgr.training.ahead import Numbered, ahead
from hpgr.training.interrupts import TrainingInterrupted
from hpgr.training.settings import Housekeeping, StageSettings
from hpgr.training.stages import fit_stage


class Slow:
    """Batch ``n`` is ``n`` itself; the first ones take longest, so that threads finish in another order."""

    def __init__(self, count: int, bad: int | None = None) -> None:
        self.count, self.bad, self.made = count, bad, []

    def batch(self, number: int) -> int:
        time.sleep(0.002 * (self.count - number) / self.count)
        self.made.append(number)
        if number == self.bad:
            raise DataError(f"batch ({number}) must be readable")
        return number


def workers_alive() -> int:
    return sum(thread.name.startswith("batches") for thread in threading.enumerate())


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_batches_come_in_order_and_only_those_asked_for(workers):
    batches = Slow(20)
    assert list(ahead(batches, 3, 20, workers)) == list(range(3, 20))
    assert sorted(batches.made) == list(range(3, 20))
    assert workers_alive() == 0


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_are_two_batches_ahead_at_most(workers):
    batches = Slow(50)
    walk = ahead(batches, 0, 50, workers)
    assert [next(walk) for _ in range(5)] == [0, 1, 2, 3, 4]
    time.sleep(0.05)
    assert 5 <= len(batches.made) <= 5 + 2 * workers
    walk.close()
    assert workers_alive() == 0


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_an_error_is_raised_at_its_batch_as_it_is(workers):
    walk = ahead(Slow(20, bad=7), 0, 20, workers)
    assert [next(walk) for _ in range(7)] == list(range(7))
    with pytest.raises(DataError, match=r"batch \(7\) must be readable"):
        next(walk)
    assert workers_alive() == 0


@pytest.mark.parametrize("workers", [0, 3])
def test_batches_that_follow_from_each_other_are_made_by_one_thread(toy_batches, workers):
    batches = toy_batches(6)
    assert not isinstance(batches, Numbered)
    plain = [batch.item_idx.tolist() for batch in batches]
    assert [batch.item_idx.tolist() for batch in ahead(batches, 2, 6, workers)] == plain[2:]
    assert [batch.item_idx.tolist() for batch in ahead(batches, 0, 9, workers)] == plain, "fewer than were told"


def test_training_gives_the_same_weights_with_workers_and_says_how_long_it_waited(toy, toy_batches):
    weights = []
    for workers in (0, 2):
        net, stage = toy()
        result = fit_stage(
            stage, toy_batches(8), settings=StageSettings(epochs=2), seed=1, keep=Housekeeping(workers=workers)
        )
        assert all(0 <= line["wait_share"] < 1 for line in result.curve)
        weights.append(torch.cat([p.detach().flatten() for p in net.parameters()]))
    assert torch.equal(*weights)
    gc.collect()
    assert workers_alive() == 0


def test_a_slow_loader_shows_in_the_wait_share(toy, toy_batches):
    class Late(toy_batches):
        def __iter__(self):
            for batch in super().__iter__():
                time.sleep(0.1)
                yield batch

    _, stage = toy()
    result = fit_stage(stage, Late(6), settings=StageSettings(epochs=1), seed=1)
    assert result.curve[0]["wait_share"] > 0.3


def test_an_interrupt_in_a_step_leaves_no_worker(toy, toy_batches):
    net, stage = toy()
    inner, calls = net.loss, []

    def loss(*batch):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return inner(*batch)

    object.__setattr__(stage, "loss", loss)
    with pytest.raises(TrainingInterrupted, match="interrupted at step 2"):
        fit_stage(stage, toy_batches(20), settings=StageSettings(epochs=1), seed=1, keep=Housekeeping(workers=2))
    gc.collect()
    assert workers_alive() == 0


def test_workers_must_not_be_negative():
    with pytest.raises(ConfigError, match=r"workers \(-1\) must not be negative; 0 makes batches when they are needed"):
        Housekeeping(workers=-1)
