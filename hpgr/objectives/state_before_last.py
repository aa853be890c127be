"""The state that stands for a training window: that of the event before its last one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor

from hpgr.core.batch import History
from hpgr.objectives import Read, Task


def before_last(history: History) -> Task:
    """Asks for the state of the event before each row's last one; -1 where there is none."""
    told = history.without_last()
    last_B = (told.user_offsets[1:] - 1).masked_fill(told.lengths == 0, -1)
    return Task(history=told, hidden_T=None, read_N=last_B)


def state_before_last(read: Read, history: History) -> Tensor:
    """``[n, D]``: those states, without the rows that have none."""
    return read(before_last(history))[history.lengths > 1]


def histories(batches: Iterable[Any]) -> Iterator[History]:
    """The histories of training batches, the first of each where they come in pairs."""
    return (batch[0] if isinstance(batch, tuple) else batch for batch in batches)
