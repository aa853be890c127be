"""Where a session ends: by idle gap, by the log's own ids, or by calendar day."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hpgr.core.errors import ConfigError
from hpgr.core.units import seconds

_DAY_MS = 86_400_000


class SessionRule(Protocol):
    """How the events of a user fall into sessions; times in ms, UTC."""

    @property
    def needs_codes(self) -> bool:
        """Whether the log's own session ids are read."""

    def starts(self, user_offsets: np.ndarray, time_ms: np.ndarray, session_code: np.ndarray | None) -> np.ndarray:
        """``[N]`` bool: the event opens a session. Users ``user_offsets [U+1]``, each ordered by ``time_ms [N]``."""

    def is_open(self, last_time_ms: np.ndarray, now_ms: np.ndarray) -> np.ndarray:
        """``[B]`` bool: a request at ``now_ms [B]`` continues the session of an event at ``last_time_ms [B]``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IdleGap:
    """A session ends where more than ``gap_s`` seconds pass without an event, or after ``max_events``."""

    gap_s: float = 1800.0
    max_events: int | None = None

    def __post_init__(self) -> None:
        _check_gap(self.gap_s)
        if self.max_events is not None and self.max_events < 1:
            raise ConfigError(f"max_events ({self.max_events}) must be at least 1; None sets no limit")

    @property
    def needs_codes(self) -> bool:
        return False

    def starts(self, user_offsets: np.ndarray, time_ms: np.ndarray, session_code: np.ndarray | None) -> np.ndarray:
        """``[N]`` bool; codes are not read."""
        first = _first_of_users(user_offsets, len(time_ms))
        first[1:] |= np.diff(time_ms) > self.gap_s * 1000
        if self.max_events is not None:
            begun = np.maximum.accumulate(np.where(first, np.arange(len(first)), 0))
            first |= (np.arange(len(first)) - begun) % self.max_events == 0
        return first

    def is_open(self, last_time_ms: np.ndarray, now_ms: np.ndarray) -> np.ndarray:
        """``[B]`` bool; ``max_events`` is not looked at."""
        return np.asarray(now_ms) - np.asarray(last_time_ms) <= self.gap_s * 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class GivenSessions:
    """The log's own session ids; a session that another interrupts counts as two.

    A request carries no id: it continues the last session within ``gap_s`` seconds.
    """

    gap_s: float = 1800.0

    def __post_init__(self) -> None:
        _check_gap(self.gap_s)

    @property
    def needs_codes(self) -> bool:
        return True

    def starts(self, user_offsets: np.ndarray, time_ms: np.ndarray, session_code: np.ndarray | None) -> np.ndarray:
        """``[N]`` bool from ``session_code [N]`` int64.

        Raises: ValueError if there are no codes.
        """
        if session_code is None:
            raise ValueError("session_code (None) must be given for sessions by id")
        first = _first_of_users(user_offsets, len(time_ms))
        first[1:] |= session_code[1:] != session_code[:-1]
        return first

    def is_open(self, last_time_ms: np.ndarray, now_ms: np.ndarray) -> np.ndarray:
        """``[B]`` bool."""
        return np.asarray(now_ms) - np.asarray(last_time_ms) <= self.gap_s * 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class CalendarDay:
    """A session is a day of the zone ``utc_offset_s`` seconds ahead of UTC."""

    utc_offset_s: int = 0

    def __post_init__(self) -> None:
        if abs(self.utc_offset_s) > 14 * 3600:
            raise ConfigError(f"utc_offset_s ({self.utc_offset_s}) must lie within 14 hours of UTC")

    @property
    def needs_codes(self) -> bool:
        return False

    def starts(self, user_offsets: np.ndarray, time_ms: np.ndarray, session_code: np.ndarray | None) -> np.ndarray:
        """``[N]`` bool; codes are not read."""
        first = _first_of_users(user_offsets, len(time_ms))
        first[1:] |= np.diff(self._day(time_ms)) != 0
        return first

    def is_open(self, last_time_ms: np.ndarray, now_ms: np.ndarray) -> np.ndarray:
        """``[B]`` bool: both fall on one day."""
        return self._day(last_time_ms) == self._day(now_ms)

    def _day(self, time_ms: np.ndarray) -> np.ndarray:
        return (np.asarray(time_ms, dtype=np.int64) + self.utc_offset_s * 1000) // _DAY_MS


def session_rule(text: str) -> SessionRule:
    """The rule of words on a command line: a gap such as ``30m``, ``given``, ``day``, ``day+2h`` or ``day-5h``.

    Raises: ConfigError for anything else, and for a gap of 0.

    >>> session_rule("30m"), session_rule("day+2h")
    (IdleGap(gap_s=1800.0, max_events=None), CalendarDay(utc_offset_s=7200))
    """
    if text == "given":
        return GivenSessions()
    day = re.fullmatch(r"day(?:([+-])(.+))?", text)
    if day is None:
        return IdleGap(gap_s=seconds(text))
    offset = seconds(day.group(2)) if day.group(2) else 0
    return CalendarDay(utc_offset_s=int(-offset if day.group(1) == "-" else offset))


def _check_gap(gap_s: float) -> None:
    if not gap_s > 0:
        raise ConfigError(
            f"session gap ({gap_s:g} s) must be more than 0, else every event is a session; use 30m, day or given"
        )


def _first_of_users(user_offsets: np.ndarray, size: int) -> np.ndarray:
    first = np.zeros(size, dtype=bool)
    starts = user_offsets[:-1]
    first[starts[user_offsets[1:] > starts]] = True
    return first


DEFAULT_SESSIONS = IdleGap()
