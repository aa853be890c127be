"""Training batches of lanes: each works through whole sessions, a few events a batch. Hidasi et al., ICLR 2016, arXiv:1511.06939."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from hpgr.core.batch import History
from hpgr.core.errors import ConfigError, DataError
from hpgr.data.catalogue import Catalogue
from hpgr.data.history import Events, gather_history
from hpgr.data.ranges import Ranges, flat_index


class SessionParallelWindows:
    """Iterates over one epoch of ``History`` batches, the same in every epoch: sessions go in by the time they begin.

    A row is the next piece of a lane's session and begins with the last event of the piece before it, so that predicting
    each event but the first from those before it meets every pair of successive events once. A lane whose session is over
    takes the next one; at the end, when none is left, lanes fall away. Features tell the encoder to carry its states:
    ``lane [T]`` int64, and ``continues [T]`` bool: the session has begun in an earlier batch.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``num_lanes``: rows of a batch. ``num_steps``: events that a lane reads in a batch, and so how far gradients run back;
        1 is the article's. ``min_len``: shorter sessions are left out. ``max_len``: events of a request at most."""

        num_lanes: int = 32
        num_steps: int = 1
        min_len: int = 2
        max_len: int = 200

        def __post_init__(self) -> None:
            for name, least in (("num_lanes", 1), ("num_steps", 1), ("min_len", 2), ("max_len", 1)):
                if getattr(self, name) < least:
                    raise ConfigError(f"{name} ({getattr(self, name)}) must be at least {least}")

    def __init__(
        self,
        events: Events,
        ranges: Ranges,
        catalogue: Catalogue,
        config: Config,
        *,
        scope: Literal["session", "user"] = "session",
    ) -> None:
        """``scope``: what a lane works through: sessions, or the whole ranges of users.

        Raises: DataError if none has ``min_len`` events.
        """
        self.config = config
        self._events, self._catalogue = events, catalogue
        start, stop = (ranges.start, ranges.stop) if scope == "user" else session_ranges(events, ranges)
        enough = stop - start >= config.min_len
        self.skipped_events = int((stop - start)[~enough].sum())
        if not enough.any():
            raise DataError(f"training part must have a {scope} with {config.min_len} events (min_len); it has none")
        start, stop = start[enough], stop[enough]
        order = np.argsort(np.asarray(events.time_ms)[start], kind="stable")
        self._start, self._stop = start[order], stop[order]
        self._pieces = -(-(self._stop - self._start - 1) // config.num_steps)
        self._lane, self._begin = in_lanes(self._pieces, config.num_lanes)

    def set_epoch(self, epoch: int) -> None:
        """Epochs are alike, so that the last steps of each are of the newest sessions."""

    def __len__(self) -> int:
        return int((self._begin + self._pieces).max())

    def __iter__(self) -> Iterator[History]:
        entering = np.searchsorted(self._begin, np.arange(len(self) + 1))
        held = np.full(self.config.num_lanes, -1)
        for step in range(len(self)):
            entered = np.arange(entering[step], entering[step + 1])
            held[self._lane[entered]] = entered
            rows = held[held >= 0]
            yield self._batch(rows[step < (self._begin + self._pieces)[rows]], step)

    def _batch(self, rows: np.ndarray, step: int) -> History:
        size, done = self.config.num_steps, step - self._begin[rows]
        start = self._start[rows] + done * size
        stop = np.minimum(start + size + 1, self._stop[rows])
        now_ms = np.asarray(self._events.time_ms)[stop - 1]
        history = gather_history(self._events, self._catalogue, start, stop, now_ms, max_len=size + 1)
        columns = {"lane": self._lane[rows], "continues": done > 0}
        features = {name: torch.from_numpy(np.repeat(column, stop - start)) for name, column in columns.items()}
        return replace(history, features=features)


def session_ranges(events: Events, ranges: Ranges) -> tuple[np.ndarray, np.ndarray]:
    """``(start [n], stop [n])``: the sessions of ``ranges``; one that a range's border cuts begins or ends there."""
    borders = np.asarray(events.session_offsets)
    filled = ranges.lengths > 0
    start, stop = ranges.start[filled], ranges.stop[filled]
    first, end = np.searchsorted(borders, start, side="right"), np.searchsorted(borders, stop, side="left")
    inner = flat_index(first, end)
    begins = np.sort(np.concatenate([start, borders[inner]]))
    closes = np.sort(np.concatenate([borders[inner], stop]))
    return begins, closes


def in_lanes(pieces: np.ndarray, num_lanes: int) -> tuple[np.ndarray, np.ndarray]:
    """``(lane [n], begin [n])`` int64: row after row takes ``pieces [n]`` steps of the lane that is free first, the lowest of equals.

    >>> [column.tolist() for column in in_lanes(np.array([3, 1, 1, 2]), 2)]
    [[0, 1, 1, 1], [0, 0, 1, 2]]
    """
    lane, begin = np.empty((2, len(pieces)), dtype=np.int64)
    free = [(0, number) for number in range(num_lanes)]
    for row, size in enumerate(pieces.tolist()):
        begin[row], lane[row] = free[0]
        heapq.heapreplace(free, (free[0][0] + size, free[0][1]))
    return lane, begin
