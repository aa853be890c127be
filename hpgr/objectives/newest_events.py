"""The newest events of each user, as a history of their own."""

from __future__ import annotations

import torch

from hpgr.core.batch import History
from hpgr.core.jagged import offsets_of, offsets_of_starts, position_in_row


def newest_events(history: History, count: int) -> History:
    """At most ``count`` events a user, asked at the same moment; a session that is cut keeps what is left of it."""
    if history.num_events <= count:
        return history
    left = history.lengths.clamp(max=count)
    dropped = (history.lengths - left)[history.user_of_event()]
    keep = position_in_row(history.user_offsets, history.num_events) >= dropped
    session = history.session_of_event()[keep]
    starts = torch.ones_like(session, dtype=torch.bool)
    starts[1:] = session[1:] != session[:-1]
    return History(
        item_idx=history.item_idx[keep],
        time_ms=history.time_ms[keep],
        action=history.action[keep],
        user_offsets=offsets_of(left),
        session_offsets=offsets_of_starts(starts),
        now_ms=history.now_ms,
        session_open=history.session_open,
        features={name: column[keep] for name, column in history.features.items()},
    )
