from __future__ import annotations

import numpy as np
import torch

from hpgr.core.jagged import Jagged
from hpgr.evaluation.seen import seen_before


def test_rows_are_looked_up_in_the_history_of_their_own_query():
    history = Jagged.from_lengths(torch.tensor([3, 1, 9, 2]), [2, 0, 2])
    found = seen_before(history, np.array([0, 0, 1, 2, 2, 2]), np.array([3, 2, 3, 2, 9, 8]), num_items=9)
    assert found.tolist() == [True, False, False, True, False, False]


def test_empty_histories_hold_nothing():
    history = Jagged.from_lengths(torch.zeros(0, dtype=torch.int64), [0, 0])
    assert not seen_before(history, np.array([[0], [1]]), np.zeros((2, 3), dtype=np.int64), num_items=4).any()
