"""What one user did, as a model reads it: grown event by event, and always what reading the whole log again would give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hpgr.data.history import ordered_events
from hpgr.serving.events import ItemId, Mark, Stored, UserLog
from hpgr.serving.reading import Reading

_EVER = np.array([np.iinfo(np.int64).max])
_UNKNOWN_LISTED = 100


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class UserHistory:
    """``item_rows``, ``time_ms``, ``action`` ``[T]`` int64, oldest first, in sessions apart at ``session_offsets [S+1]``.

    Rows are those of the bundle whose ``fingerprint`` stands here, -1 for an item that its log does not hold; ``unknown``
    are the first of those. ``last_code``: of the last event's session. ``damaged`` rows of the log were left out. Kinds of events
    that were no history in training are not among them.
    """

    item_rows: np.ndarray
    time_ms: np.ndarray
    action: np.ndarray
    session_offsets: np.ndarray
    fingerprint: str
    mark: Mark
    last_code: int = 0
    unknown: tuple[ItemId, ...] = ()
    damaged: int = 0

    def __len__(self) -> int:
        return len(self.time_ms)

    @property
    def num_bytes(self) -> int:
        """About what it takes in memory."""
        arrays = (self.item_rows, self.time_ms, self.action, self.session_offsets)
        return sum(array.nbytes for array in arrays) + 600

    @classmethod
    def of(cls, log: UserLog, reading: Reading) -> UserHistory:
        """The whole log of a user, read as training reads one."""
        rows = reading.history_of(log.rows)
        raw = reading.raw(rows)
        ordered = ordered_events(raw, _EVER, session_rule=reading.rule)
        last_code = 0
        if raw.session_code is not None and len(ordered.time_ms):
            order = np.lexsort((np.zeros(len(raw.time_ms)) if raw.tie is None else raw.tie, raw.time_ms))
            last_code = int(raw.session_code[order[-1]])
        whole = cls(
            item_rows=ordered.item_idx,
            time_ms=ordered.time_ms,
            action=ordered.action,
            session_offsets=ordered.session_offsets,
            fingerprint=reading.fingerprint,
            mark=log.mark,
            last_code=last_code,
            unknown=_unknown((), rows, reading),
            damaged=log.damaged,
        )
        return whole._trimmed(reading.max_events, reading.max_len)

    def grown(self, rows: Sequence[Stored], mark: Mark, reading: Reading) -> UserHistory | None:
        """With newer events at the end; None where an event belongs elsewhere, and the whole log is to be read.

        A session rule looks back to the session's first event and no farther; nothing older is read again.
        """
        rows = [row for row in rows if row.seq > self.mark.seq]
        if mark.epoch != self.mark.epoch or reading.fingerprint != self.fingerprint:
            return None
        if not rows:
            return self
        rows = reading.history_of(rows)
        if not rows:
            return replace(self, mark=mark)
        last_ms = int(self.time_ms[-1]) if len(self) else -1
        first_ms = min(row.time_ms for row in rows)
        if first_ms < last_ms or (reading.looks_back and first_ms == last_ms):
            return None
        raw = reading.raw(rows)
        order = np.lexsort((np.zeros(len(rows)) if raw.tie is None else raw.tie, raw.time_ms))
        begin = int(self.session_offsets[-2]) if len(self) else 0
        time_ms = np.concatenate([self.time_ms, raw.time_ms[order]])
        codes = None
        if raw.session_code is not None:
            current = np.full(len(self) - begin, self.last_code, dtype=np.int64)
            codes = np.concatenate([current, raw.session_code[order].astype(np.int64)])
        tail = time_ms[begin:]
        starts = np.flatnonzero(reading.rule.starts(np.array([0, len(tail)]), tail, codes)) + begin
        return UserHistory(
            item_rows=np.concatenate([self.item_rows, raw.item_idx[order]]),
            time_ms=time_ms,
            action=np.concatenate([self.action, raw.action[order]]),
            session_offsets=np.concatenate(
                [self.session_offsets[:-1][: -1 if len(self) else None], starts, [len(time_ms)]]
            ),
            fingerprint=self.fingerprint,
            mark=mark,
            last_code=0 if codes is None else int(codes[-1]),
            unknown=_unknown(self.unknown, rows, reading),
            damaged=self.damaged,
        )._trimmed(reading.max_events, reading.max_len)

    def _trimmed(self, most: int, least: int) -> UserHistory:
        """Without the oldest sessions, so that at most ``most`` events are left, and at least ``least``; a longer session is cut."""
        if len(self) <= most:
            return self
        borders = self.session_offsets
        cut = int(borders[np.searchsorted(borders, len(self) - most, side="left")])
        if cut > len(self) - least:
            cut = len(self) - most
        offsets = np.concatenate([[0], borders[borders > cut] - cut]).astype(np.int64)
        return UserHistory(
            item_rows=self.item_rows[cut:].copy(),
            time_ms=self.time_ms[cut:].copy(),
            action=self.action[cut:].copy(),
            session_offsets=offsets,
            fingerprint=self.fingerprint,
            mark=self.mark,
            last_code=self.last_code,
            unknown=self.unknown,
            damaged=self.damaged,
        )


def _unknown(before: tuple[ItemId, ...], rows: Sequence[Stored], reading: Reading) -> tuple[ItemId, ...]:
    new = [row.item for row in rows if reading.row(row.item) < 0]
    return tuple(dict.fromkeys((*before, *new)))[:_UNKNOWN_LISTED] if new else before
