"""Beginnings of histories as histories of their own."""

from __future__ import annotations

import torch
from torch import Tensor

from hpgr.core.batch import History
from hpgr.core.jagged import offsets_of, position_in_row, row_of


def prefixes(history: History, user_P: Tensor, length_P: Tensor) -> History:
    """For each ``p`` the first ``length_P[p]`` events of ``user_P[p]``, asked at the time of the event that follows.

    Raises: ValueError for a beginning that is empty or has no event behind it.
    """
    if bool(((length_P < 1) | (length_P >= history.lengths[user_P])).any()):
        raise ValueError("length_P must be at least 1 and less than the events of its user")
    offsets, starts_P = offsets_of(length_P), history.user_offsets[user_P]
    size = int(offsets[-1])
    event_N = starts_P[row_of(offsets, size)] + position_in_row(offsets, size)
    session_T = history.session_of_event()
    session_N = session_T[event_N]
    begins = torch.ones_like(session_N, dtype=torch.bool)
    begins[1:] = session_N[1:] != session_N[:-1]
    begins[offsets[:-1]] = True
    next_P = starts_P + length_P
    return History(
        item_idx=history.item_idx[event_N],
        time_ms=history.time_ms[event_N],
        action=history.action[event_N],
        user_offsets=offsets,
        session_offsets=torch.cat([begins.nonzero().squeeze(1), offsets[-1:]]),
        now_ms=history.time_ms[next_P],
        session_open=session_T[next_P] == session_T[next_P - 1],
        features={name: column[event_N] for name, column in history.features.items()},
    )
