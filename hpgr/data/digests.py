"""64-bit digests of questions to a model, from the users' own ids and times alone.

The hash of a history is a sum over its events, so that all histories cost one pass over the store in bounded memory.
Source: SplitMix64's finaliser (Steele, Lea & Flood, OOPSLA 2014).
"""

from __future__ import annotations

import numpy as np
import polars as pl

from hpgr.core.vocabulary import Vocabulary
from hpgr.data.ranges import Queries, flat_index, lower_bound, offsets_from
from hpgr.data.store import SequenceStore

_STEP = np.uint64(0x9E3779B97F4A7C15)
_CHUNK_EVENTS = 1 << 22


class QuestionDigests:
    """Digests of the queries and requests of one store; each covers user, time, history and what is asked for."""

    def __init__(self, store: SequenceStore) -> None:
        self._store = store
        self._user_hash, self._item_hash = _id_hashes(store.users), _id_hashes(store.items)

    def of_queries(self, queries: Queries) -> np.ndarray:
        """``[Q]`` uint64."""
        asked = _sums_of_rows(_mixed(self._item_hash[queries.target_idx]), queries.target_offsets)
        return self._joined(queries.user_idx, queries.start, queries.stop, queries.now_ms, asked)

    def of_requests(self, requests: np.ndarray) -> np.ndarray:
        """``[len(requests)]`` uint64 for rows of the store's exposures: the items shown and their labels."""
        exposures = self._store.exposures
        if exposures is None:
            return np.zeros(0, dtype=np.uint64)
        user = np.asarray(exposures.request_user)[requests].astype(np.int64)
        now_ms = np.asarray(exposures.request_time_ms)[requests]
        low, high = np.asarray(exposures.offsets)[requests], np.asarray(exposures.offsets)[requests + 1]
        shown = flat_index(low, high)
        label = np.asarray(exposures.label)[shown].astype("<f4").view(np.uint32).astype(np.uint64)
        asked = _sums_of_rows(_chained(self._item_hash[exposures.item_idx[shown]], label), offsets_from(high - low))
        offsets = np.asarray(self._store.user_offsets)
        stop = lower_bound(self._store.time_ms, offsets[user], offsets[user + 1], now_ms)
        return self._joined(user, offsets[user], stop, now_ms, asked)

    def _joined(
        self, user: np.ndarray, start: np.ndarray, stop: np.ndarray, now_ms: np.ndarray, asked: np.ndarray
    ) -> np.ndarray:
        history = self._history_sums(stop) - self._history_sums(start)
        return _chained(self._user_hash[user], history, _u64(stop - start), _u64(now_ms), asked)

    def _history_sums(self, at: np.ndarray) -> np.ndarray:
        """``[n]`` uint64: the sum, modulo 2**64, of the hashes of all events of the store before ``at [n]``.

        An event's hash covers item, time and, unless simultaneous events are a set, its place in the user's history.
        """
        store, user_offsets = self._store, np.asarray(self._store.user_offsets)
        order = np.argsort(at, kind="stable")
        wanted, found = at[order], np.zeros(len(at), dtype=np.uint64)
        total = np.zeros((), dtype=np.uint64)
        for low in range(0, len(store.item_idx), _CHUNK_EVENTS):
            high = min(low + _CHUNK_EVENTS, len(store.item_idx))
            event = _chained(self._item_hash[store.item_idx[low:high]], _u64(store.time_ms[low:high]))
            if store.ties != "set":
                place = np.arange(low, high)
                place -= user_offsets[np.searchsorted(user_offsets, place, side="right") - 1]
                event = _chained(event, _u64(place))
            sums = total + _running_sum(event)
            here = slice(*np.searchsorted(wanted, (low, high + 1)))
            found[order[here]] = sums[wanted[here] - low]
            total = sums[-1]
        return found


def _mixed(bits: np.ndarray) -> np.ndarray:
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


def _chained(first: np.ndarray, *others: np.ndarray) -> np.ndarray:
    """One hash of several, in which their order counts."""
    bits = _mixed(first + _STEP)
    for other in others:
        bits = _mixed(bits * _STEP + other)
    return bits


def _u64(values: np.ndarray) -> np.ndarray:
    return np.asarray(values).astype(np.int64).view(np.uint64)


def _running_sum(values: np.ndarray) -> np.ndarray:
    """``[n+1]`` uint64, modulo 2**64."""
    return np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(values, dtype=np.uint64)])


def _sums_of_rows(values: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    running = _running_sum(values)
    return running[offsets[1:]] - running[offsets[:-1]]


def _id_hashes(vocabulary: Vocabulary) -> np.ndarray:
    """``[n]`` uint64 of the ids as text: the sum of one hash for each (byte, place), and the length."""
    text = vocabulary.ids.cast(pl.String).cast(pl.Binary)
    length = text.bin.size().to_numpy().astype(np.int64)
    letters = np.frombuffer(b"".join(text.to_list()), dtype=np.uint8).astype(np.uint64)
    place = _u64(flat_index(np.zeros_like(length), length))
    return _chained(_sums_of_rows(_chained(letters, place), offsets_from(length)), _u64(length))
