from __future__ import annotations

import pytest
import torch

from hpgr.core.batch import History
from hpgr.core.errors import ConfigError
from hpgr.core.seeds import torch_generator
from hpgr.objectives.last_item import LastItem
from hpgr.objectives.prefixes import prefixes

HISTORY = History.from_lists(
    [[1, 2, 3, 4], [], [5], [6, 7]],
    times_ms=[[10, 20, 30, 40], [], [50], [60, 70]],
    sessions=[[0, 0, 1, 1], [], [0], [0, 1]],
    now_ms=[99] * 4,
)


def test_all_beginnings_are_rows_that_expect_what_follows():
    task = LastItem.Config(num_prefixes=None).build().training_task(HISTORY, torch_generator(0))
    assert task.history.item_idx.tolist() == [1, 1, 2, 1, 2, 3, 6]
    assert task.history.user_offsets.tolist() == [0, 1, 3, 6, 7]
    assert task.history.session_offsets.tolist() == [0, 1, 3, 5, 6, 7]
    assert task.history.now_ms.tolist() == [20, 30, 40, 70]
    assert task.history.session_open.tolist() == [True, False, True, False]
    assert task.read_N.tolist() == [0, 2, 5, 6]
    assert task.target_N.tolist() == [2, 3, 4, 7]


def test_beginnings_are_drawn_without_repetition_each_as_often_as_another():
    objective, counts = LastItem.Config(num_prefixes=2).build(), torch.zeros(8, dtype=torch.int64)
    for seed in range(300):
        task = objective.training_task(HISTORY, torch_generator(seed))
        targets = task.target_N.tolist()
        assert len(targets) == 3
        assert targets == sorted(set(targets))
        assert (task.target_N == task.history.item_idx[task.read_N] + 1).all()
        counts += torch.bincount(task.target_N, minlength=8)
    assert counts[7] == 300
    assert (counts[2:5] - 200).abs().max() < 40


def test_a_request_reads_the_newest_event():
    task = LastItem.Config().build().request_task(HISTORY)
    assert task.history is HISTORY
    assert task.read_N.tolist() == [3, -1, 4, 6]


def test_bad_input_is_named():
    with pytest.raises(ConfigError, match=r"num_prefixes \(0\) must be at least 1, or None for all"):
        LastItem.Config(num_prefixes=0)
    with pytest.raises(ValueError, match="length_P must be at least 1 and less than the events of its user"):
        prefixes(HISTORY, torch.tensor([0]), torch.tensor([4]))
