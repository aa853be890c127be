"""Where a session is predicted from: the event before it."""

from __future__ import annotations

import torch
from torch import Tensor

from hpgr.core.batch import History


def before_sessions(history: History) -> tuple[History, Tensor]:
    """``(told, read_S)``: the history without each user's last session, asked when that one began; and for each session of
    ``history`` the event of ``told`` right before it, -1 for the first of a user.

    What a request reads, the newest event told, has then stood at the same place in training.
    """
    first_S, sessions_B1 = history.session_offsets[:-1], history.user_session_offsets()
    some_B = history.lengths > 0
    is_last_S = torch.zeros(first_S.shape[0], dtype=torch.bool, device=first_S.device)
    is_last_S[sessions_B1[1:][some_B] - 1] = True
    now_ms, session_open = history.now_ms.clone(), history.session_open.clone()
    now_ms[some_B] = history.time_ms[first_S[is_last_S]]
    session_open[some_B] = False
    keep_T = ~is_last_S[history.session_of_event()]
    told = history.keeping(keep_T, now_ms=now_ms, session_open=session_open)
    is_first_S = torch.zeros_like(is_last_S)
    is_first_S[sessions_B1[:-1][some_B]] = True
    read_S = keep_T.cumsum(0)[(first_S - 1).clamp(min=0)] - 1
    return told, read_S.masked_fill(is_first_S, -1)
