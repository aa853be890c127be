"""Training windows, each beside what was shown to its user in its sessions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from hpgr.core.batch import Candidates, History
from hpgr.data.candidate_lists import exposures_of
from hpgr.data.catalogue import Catalogue
from hpgr.data.ranges import flat_index, lower_bound, offsets_from
from hpgr.data.store import SequenceStore
from hpgr.data.windows import TrainWindows


class ShownWindows:
    """Batches ``(history, shown)`` of ``windows``; the rows of ``shown`` are the history's sessions, ``offsets [S+1]``.

    What is shown belongs to the session of the newest event before it, or at its moment, if the log's session rule says that
    it falls into that session; else to that of the event that follows, if the rule says so of that one; else to none, and is
    left out. ``label [C, 1]`` says what was chosen; there are no cross features.
    """

    def __init__(self, windows: TrainWindows, store: SequenceStore, requests: np.ndarray, catalogue: Catalogue) -> None:
        """``store`` and ``catalogue``: those of ``windows``. ``requests``: rows of the store's exposures that may be seen.

        Raises: DataError if the store has no exposures.
        """
        self._windows, self._store, self._catalogue = windows, store, catalogue
        exposures = exposures_of(store)
        low, high = np.asarray(exposures.offsets)[requests], np.asarray(exposures.offsets)[requests + 1]
        at = flat_index(low, high)
        user = np.repeat(np.asarray(exposures.request_user)[requests], high - low).astype(np.int64)
        time_ms = np.repeat(np.asarray(exposures.request_time_ms)[requests], high - low)
        order = np.lexsort((time_ms, user))
        self._of_user = offsets_from(np.bincount(user, minlength=store.num_users))
        self._time_ms = time_ms[order].astype(np.int64)
        self._item = catalogue.rows(np.asarray(exposures.item_idx)[at[order]])
        self._label = np.asarray(exposures.label)[at[order]].astype(np.float32)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that ``len`` and iteration speak of."""
        self._windows.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self._windows)

    def __iter__(self) -> Iterator[tuple[History, Candidates]]:
        return map(self.batch, range(len(self)))

    def batch(self, number: int) -> tuple[History, Candidates]:
        """One batch of the epoch, by its place in it."""
        history = self._windows.batch(number)
        row, at = self._around(*self._windows.borders(number))
        session = self._session(history, row, self._time_ms[at])
        kept = session >= 0
        at, session = at[kept], session[kept]
        order = np.argsort(session, kind="stable")
        at, num_sessions = at[order], history.session_offsets.shape[0] - 1
        shown = Candidates(
            item_idx=torch.from_numpy(self._item[at]),
            time_ms=torch.from_numpy(self._time_ms[at]),
            offsets=torch.from_numpy(offsets_from(np.bincount(session, minlength=num_sessions))),
            features=torch.zeros(len(at), 0),
            label=torch.from_numpy(self._label[at])[:, None],
            weight=torch.ones(len(at)),
        )
        return history, shown

    def _around(self, start: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``(row [n], at [n])``: what each window's user was shown between the events before it and after it."""
        times, borders = np.asarray(self._store.time_ms), np.asarray(self._store.user_offsets)
        user = np.searchsorted(borders, start, side="right") - 1
        first, end = self._of_user[user], self._of_user[user + 1]
        before = np.where(start > borders[user], times[np.maximum(start - 1, 0)] + 1, np.iinfo(np.int64).min)
        after = np.where(stop < borders[user + 1], times[np.minimum(stop, len(times) - 1)], np.iinfo(np.int64).max)
        low, high = (lower_bound(self._time_ms, first, end, bound) for bound in (before, after))
        high = np.maximum(low, high)
        return np.repeat(np.arange(len(start)), high - low), flat_index(low, high)

    def _session(self, history: History, row: np.ndarray, time_ms: np.ndarray) -> np.ndarray:
        """``[n]`` int64: the session of the batch that each moment of a row's user falls into; -1 for none."""
        events, offsets = history.time_ms.numpy(), history.user_offsets.numpy()
        session_T, rule = history.session_of_event().numpy(), self._store.session_rule
        found = np.full(len(row), -1, dtype=np.int64)
        following = lower_bound(events, offsets[row], offsets[row + 1], time_ms + 1)
        later = np.flatnonzero(following < offsets[row + 1])
        later = later[rule.is_open(time_ms[later], events[following[later]])]
        found[later] = session_T[following[later]]
        earlier = np.flatnonzero(following > offsets[row])
        earlier = earlier[rule.is_open(events[following[earlier] - 1], time_ms[earlier])]
        found[earlier] = session_T[following[earlier] - 1]
        return found
