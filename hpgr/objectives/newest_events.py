"""The newest events of each user, as a history of their own."""

from __future__ import annotations

from hpgr.core.batch import History
from hpgr.core.jagged import position_in_row


def newest_events(history: History, count: int) -> History:
    """At most ``count`` events a user, asked at the same moment; a session that is cut keeps what is left of it."""
    if history.num_events <= count:
        return history
    dropped = (history.lengths - count).clamp(min=0)[history.user_of_event()]
    return history.keeping(position_in_row(history.user_offsets, history.num_events) >= dropped)
