"""The alarm for questions that hold their own answer."""

from __future__ import annotations

import numpy as np

from hpgr.core.errors import DataError
from hpgr.data.ranges import Queries, chunks, flat_index, lower_bound
from hpgr.data.store import SequenceStore


def refuse_leaks(store: SequenceStore, queries: Queries) -> None:
    """Every history is its user's own, ends no later than the question is asked, and leaves a target to come.

    In a store whose ties are a ``set`` a history ends strictly before.

    Raises: DataError with the number of questions that break this, and the user of the first.
    """
    offsets, times = np.asarray(store.user_offsets), np.asarray(store.time_ms)
    foreign = (queries.start < offsets[queries.user_idx]) | (queries.stop > offsets[queries.user_idx + 1])
    foreign |= queries.start > queries.stop
    _raise_if(foreign, store, queries, "must lie inside its own user's events")
    last_ms = times[np.maximum(queries.stop - 1, 0)]
    late = (last_ms >= queries.now_ms) if store.ties == "set" else (last_ms > queries.now_ms)
    _raise_if(late & (queries.stop > queries.start), store, queries, "must end before the question is asked")
    _raise_if(~_target_to_come(store, queries), store, queries, "must not hold the target")


def _target_to_come(store: SequenceStore, queries: Queries) -> np.ndarray:
    """``[Q]`` bool: after the history, at the moment of the question, stands an event with one of its targets."""
    times, item = np.asarray(store.time_ms), np.asarray(store.item_idx)
    ends = np.asarray(store.user_offsets)[queries.user_idx + 1]
    now_stop = lower_bound(times, queries.stop, ends, queries.now_ms + 1)
    now_start = lower_bound(times, queries.stop, now_stop, queries.now_ms)
    size, found = len(store.items), np.zeros(len(queries), dtype=bool)
    wanted = np.sort(queries.query_of_target() * size + queries.target_idx)
    for low, high in chunks(now_stop - now_start):
        event = flat_index(now_start[low:high], now_stop[low:high])
        query = np.repeat(np.arange(low, high), (now_stop - now_start)[low:high])
        key = query * size + item[event]
        at = np.minimum(np.searchsorted(wanted, key), max(len(wanted) - 1, 0))
        found[query[wanted[at] == key] if len(wanted) else query[:0]] = True
    return found


def _raise_if(bad: np.ndarray, store: SequenceStore, queries: Queries, rule: str) -> None:
    if bad.any():
        user = store.users.at(queries.user_idx[[int(np.argmax(bad))]])[0]
        raise DataError(f"history of {int(bad.sum())} of {len(queries)} questions (user {user}'s first) {rule}")
