"""The events that a prediction may learn from before it is made: the newest few until its reading."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hpgr.objectives import Task


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Support:
    """``item_NS`` int64: items of the ``S`` events until each reading, its own last; where a user has fewer, their first one
    again. ``counts_NP`` bool: whether both ends of each of the ``S - 1`` transitions are there."""

    item_NS: Tensor
    counts_NP: Tensor

    @classmethod
    def of(cls, task: Task, size: int) -> Support:
        """The ``size`` newest events until each of the task's readings; there must be an event."""
        history, read_N = task.history, task.read_N.clamp(min=0)
        start_N = history.user_offsets[:-1][history.user_of_event()[read_N]]
        at_NS = read_N[:, None] - torch.arange(size - 1, -1, -1, device=read_N.device)
        there_NS = at_NS >= start_N[:, None]
        return cls(item_NS=history.item_idx[at_NS.maximum(start_N[:, None])], counts_NP=there_NS[:, :-1])
