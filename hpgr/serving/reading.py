"""How one bundle reads events: its items' rows, its session rule, its actions, and which kinds count."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from hpgr.answering.opening import Opened
from hpgr.core.errors import DataError
from hpgr.data.history import RawEvents
from hpgr.data.history_rule import HistoryRule
from hpgr.data.ordering import canonical_codes, stable_codes
from hpgr.data.sessions import GivenSessions, IdleGap, SessionRule
from hpgr.serving.events import ItemId, Stored


@dataclass(frozen=True, kw_only=True, slots=True)
class GivenOrGap:
    """Sessions by id; events that carry none go by idle gap among themselves."""

    gap_s: float

    @property
    def needs_codes(self) -> bool:
        return True

    def starts(self, user_offsets: np.ndarray, time_ms: np.ndarray, session_code: np.ndarray | None) -> np.ndarray:
        """``[N]`` bool; the code 0 is no id."""
        assert session_code is not None
        by_id = GivenSessions(gap_s=self.gap_s).starts(user_offsets, time_ms, session_code)
        by_gap = IdleGap(gap_s=self.gap_s).starts(user_offsets, time_ms, None)
        return by_id | (by_gap & (session_code == 0))

    def is_open(self, last_time_ms: np.ndarray, now_ms: np.ndarray) -> np.ndarray:
        """``[B]`` bool."""
        return GivenSessions(gap_s=self.gap_s).is_open(last_time_ms, now_ms)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Reading:
    """``ids`` of the bundle's log and their ``row_of``; ``max_events`` of a user are held, of whole sessions where those leave the
    newest ``max_len``, which the model reads.

    ``fingerprint``: of the bundle; what was read for one bundle is never used for another.
    """

    ids: list[ItemId]
    row_of: dict[ItemId, int]
    item_type: Literal["integer", "string"]
    rule: SessionRule
    history: HistoryRule
    set_ties: bool
    action_code: dict[str, int]
    fingerprint: str
    max_events: int
    max_len: int

    @classmethod
    def of(cls, opened: Opened, max_events: int) -> Reading:
        """How the bundle's model was taught to read."""
        log, ids = opened.log, opened.log.items.ids.to_list()
        assert opened.bundle.folder is not None
        rule = GivenOrGap(gap_s=log.rule.gap_s) if isinstance(log.rule, GivenSessions) else log.rule
        return cls(
            ids=ids,
            row_of={id_: row for row, id_ in enumerate(ids)},
            item_type="integer" if log.items.ids.dtype.is_integer() else "string",
            rule=rule,
            history=log.history,
            set_ties=log.ties == "set",
            action_code={name: i + 1 for i, name in enumerate(log.actions)},
            fingerprint=fingerprint_of(opened.bundle.folder),
            max_events=max(max_events, opened.answerer.max_len),
            max_len=opened.answerer.max_len,
        )

    def row(self, item: ItemId) -> int:
        """The item's row in the bundle's log, -1 for one that it does not hold. ``7`` and ``"7"`` are one id, ``"07"`` another."""
        if self.item_type == "string":
            return self.row_of.get(str(item), -1)
        if isinstance(item, str):
            try:
                number = int(item)
            except ValueError:
                return -1
            return self.row_of.get(number, -1) if str(number) == item else -1
        return self.row_of.get(item, -1)

    def rows(self, items: Iterable[ItemId]) -> tuple[np.ndarray, tuple[ItemId, ...]]:
        """Rows ``[n]`` of the known ones of ``items``, each once, and the unknown ones."""
        found = {item: self.row(item) for item in items}
        known = dict.fromkeys(row for row in found.values() if row >= 0)
        return np.fromiter(known, dtype=np.int64, count=len(known)), tuple(i for i, row in found.items() if row < 0)

    @property
    def looks_back(self) -> bool:
        """Whether an event may change what others of the same moment are read as."""
        return self.set_ties or self.history.duplicates == "drop"

    def history_of(self, events: Sequence[Stored]) -> list[Stored]:
        """Those that would be history in the log; an event that names no kind is taken to be of one that counts."""
        kinds = self.history.events
        counted = [e for e in events if kinds is None or e.action is None or e.action in kinds]
        if self.history.duplicates == "keep":
            return counted
        first: dict[tuple[str, int, str | None], Stored] = {}
        for event in counted:
            first.setdefault((str(event.item), event.time_ms, event.action), event)
        return list(first.values())

    def raw(self, events: Sequence[Stored]) -> RawEvents:
        """The events of one user, as training reads those of a log."""
        codes, tie = None, None
        if self.rule.needs_codes:
            codes = stable_codes(pl.Series([event.session for event in events], dtype=pl.String))
        if self.set_ties:
            tie = canonical_codes(pl.Series([str(event.item) for event in events], dtype=pl.String))
        return RawEvents(
            item_idx=np.array([self.row(event.item) for event in events], dtype=np.int64),
            time_ms=np.array([event.time_ms for event in events], dtype=np.int64),
            action=np.array([self.action_code.get(event.action or "", 0) for event in events], dtype=np.int64),
            offsets=np.array([0, len(events)], dtype=np.int64),
            session_code=codes,
            tie=tie,
        )


def fingerprint_of(folder: Path) -> str:
    """Of a bundle: of its config, which holds the checksums of its weights, items and facts.

    Raises: DataError if there is no config.
    """
    try:
        return hashlib.sha256((folder / "config.json").read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise DataError(f"bundle ({folder}) must be a folder that hpgr train wrote ({error.strerror})") from None
