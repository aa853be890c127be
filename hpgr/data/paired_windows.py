"""Training windows, each beside another that ends in the same item, of any user. Qin et al., WSDM 2024, arXiv:2310.14318."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hpgr.core.batch import History
from hpgr.core.seeds import numpy_generator
from hpgr.data.catalogue import Catalogue
from hpgr.data.history import Events, gather_history
from hpgr.data.ranges import Ranges, flat_index, offsets_from
from hpgr.data.windows import TrainWindows


class PairedWindows:
    """Batches ``(history, partners)`` of ``windows``: row by row both end in the same item.

    A partner is what came before, and with, one of the training events of that item, any as likely as another, but not the
    row's own; where there is no other, the row is its own partner. Events that begin a history are nobody's partner.

    Departs: the released code always takes the last of the others.
    """

    def __init__(
        self, windows: TrainWindows, events: Events, ranges: Ranges, catalogue: Catalogue, *, seed: int
    ) -> None:
        """``events``, ``ranges`` and ``catalogue``: those of ``windows``."""
        self._windows, self._events, self._catalogue, self._seed = windows, events, catalogue, seed
        self._epoch = 0
        at = flat_index(ranges.start + (ranges.lengths > 0), ranges.stop)
        item = catalogue.rows(np.asarray(events.item_idx)[at])
        order = np.argsort(item, kind="stable")
        # Events by item, inside an item by place; and where the history of each begins.
        self._event = at[order]
        self._start = np.repeat(ranges.start, np.maximum(ranges.lengths - 1, 0))[order]
        self._offsets = offsets_from(np.bincount(item, minlength=len(catalogue) + 1))
        self._place = np.full(len(np.asarray(events.item_idx)), -1, dtype=np.int64)
        self._place[self._event] = np.arange(len(order)) - self._offsets[item[order]]

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that ``len`` and iteration speak of."""
        self._epoch = epoch
        self._windows.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self._windows)

    def __iter__(self) -> Iterator[tuple[History, History]]:
        return map(self.batch, range(len(self)))

    def batch(self, number: int) -> tuple[History, History]:
        """One batch of the epoch, by its place in it."""
        history = self._windows.batch(number)
        last = history.item_idx[history.user_offsets[1:] - 1].numpy()
        start, stop = self._windows.borders(number)
        drawn = numpy_generator(self._seed, "partners", self._epoch, number).random(len(last))
        start, stop = self._partners(last, start, stop, drawn)
        now_ms = np.asarray(self._events.time_ms)[stop - 1]
        max_len = self._windows.config.max_len
        return history, gather_history(self._events, self._catalogue, start, stop, now_ms, max_len=max_len)

    def _partners(
        self, item: np.ndarray, start: np.ndarray, stop: np.ndarray, draw: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where the partners of rows begin and end that end in ``item [B]``; ``draw [B]`` uniform in [0, 1)."""
        if not len(self._event):
            return start, stop
        count, own = self._offsets[item + 1] - self._offsets[item], self._place[stop - 1]
        # Where ties are shuffled, a row may end in an item that is not the one at its border: then no place is its own.
        is_own = (own >= 0) & (self._catalogue.rows(np.asarray(self._events.item_idx)[stop - 1]) == item)
        others = count - is_own
        place = (draw * others).astype(np.int64)
        place += is_own & (place >= own)
        at = self._offsets[item] + np.minimum(place, np.maximum(count - 1, 0))
        alone = others <= 0
        chosen = np.where(alone, 0, at)
        return np.where(alone, start, self._start[chosen]), np.where(alone, stop, self._event[chosen] + 1)
