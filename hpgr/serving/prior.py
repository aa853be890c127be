"""What is popular at a moment: the last week, at that hour of the day, as far as the log tells."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Literal

import numpy as np

from hpgr.data.item_clock import ItemClock
from hpgr.serving.shelf import Shelf

Kind = Literal["context", "recent", "training"]
_HOUR_MS, _DAY_MS = 3_600_000, 86_400_000
_RECENT_MS = 7 * _DAY_MS
# Events of the wider prior that a narrower one begins with: a Dirichlet prior, so that few events say little.
_AS_MANY = 1000.0
_HELD = 48


class Popularity:
    """``log_share``: of every place of a shelf, what share of the events it has.

    ``training``: of the training events. ``recent``: of the seven days before the moment, or before the log's end where that
    is earlier. ``context``: of those days' events at the moment's hour (UTC). Each begins with the one before it.
    """

    def __init__(self, kind: Kind, shelf: Shelf, clock: ItemClock, train_count: np.ndarray, end_ms: int) -> None:
        self._kind, self._shelf, self._clock, self._end_ms = kind, shelf, clock, end_ms
        # One event more for each, and one for what has no place: nothing is impossible.
        counts = np.ones(len(shelf) + 1)
        counts[: len(train_count)] += train_count
        self._training = counts / counts[:-1].sum()
        self._held: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()
        self._lock = Lock()

    def log_share(self, at_ms: int) -> np.ndarray:
        """``[P + 1]``: the last is that of an item without a place. Only events before ``at_ms`` count beyond training."""
        if self._kind == "training":
            return self._of(0, -1)
        # Moments of an hour share a prior; what happened within the hour is left out.
        cut = min(at_ms, self._end_ms)
        cut = cut if cut == self._end_ms else cut // _HOUR_MS * _HOUR_MS
        return self._of(cut, at_ms // _HOUR_MS % 24 if self._kind == "context" else -1)

    def _of(self, cut_ms: int, hour: int) -> np.ndarray:
        with self._lock:
            if (cut_ms, hour) not in self._held:
                self._held[cut_ms, hour] = np.log(self._share(cut_ms, hour))
                if len(self._held) > _HELD:
                    self._held.popitem(last=False)
            self._held.move_to_end((cut_ms, hour))
            return self._held[cut_ms, hour]

    def _share(self, cut_ms: int, hour: int) -> np.ndarray:
        share = self._training
        if self._kind == "training":
            return share
        listed = self._clock.events
        time_ms = np.asarray(listed.values)
        at = np.flatnonzero((time_ms >= cut_ms - _RECENT_MS) & (time_ms < cut_ms))
        owner = np.searchsorted(np.asarray(listed.offsets), at, side="right") - 1
        place, hours = self._shelf.places(owner), time_ms[at] // _HOUR_MS % 24
        for some in (place, *([place[hours == hour]] if hour >= 0 else [])):
            counts = np.bincount(some, minlength=len(share))
            counts[-1] = 0  # of many items, where the share is that of one
            share = (counts + _AS_MANY * share) / (counts.sum() + _AS_MANY)
        return share
