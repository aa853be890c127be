from __future__ import annotations

import torch

from hpgr.core.batch import History
from hpgr.objectives import Task
from hpgr.objectives.support import Support


def test_by_hand():
    """Users with 2, 0 and 4 events; readings at the second event of the first, the first and last one of the third."""
    history = History.from_lists([[1, 2], [], [3, 4, 5, 6]])
    task = Task(history=history, hidden_T=None, read_N=torch.tensor([1, 2, 5]))
    found = Support.of(task, 3)
    assert found.item_NS.tolist() == [[1, 1, 2], [3, 3, 3], [4, 5, 6]]
    assert found.counts_NP.tolist() == [[False, True], [False, False], [True, True]]
