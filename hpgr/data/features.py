"""Causal features of candidates: what was known, strictly before the moment of the request, of item and user.

Names are chosen in a config; ``FEATURES`` lists them all. Counts enter as log(1 + n), ages as log(1 + hours).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hpgr.core.errors import ConfigError, UnknownNameError
from hpgr.data.item_clock import ItemClock, Listed
from hpgr.data.ranges import flat_index

_HOUR_MS, _DAY_MS = 3_600_000, 86_400_000
# log(1 + hours) of about two and a half years: farther away than a repeat in most logs.
_NEVER_SEEN = 10.0
# A rate of one click in ten, with the weight of ten exposures.
_PRIOR_CLICKS, _PRIOR_SHOWN = 1.0, 10.0
_CATEGORY_EVENTS = 50


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Past:
    """The events that each of ``B`` users is known by, oldest first: the clock's item rows and times, ``[T]`` int64."""

    item_rows: np.ndarray
    time_ms: np.ndarray
    offsets: np.ndarray


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Asked:
    """``C`` candidates, ``[C]`` each: the clock's item row (-1: unknown to it), row of the user in the ``Past``, moment
    of the request, and whether the item is outside the model's catalogue.
    """

    item_rows: np.ndarray
    user: np.ndarray
    now_ms: np.ndarray
    is_cold: np.ndarray


def candidate_features(names: tuple[str, ...], clock: ItemClock, asked: Asked, past: Past) -> np.ndarray:
    """``[C, F]`` float32, a column for each of ``names``.

    Raises: UnknownNameError, or ConfigError if the clock lacks what a feature needs.
    """
    check_features(names, clock)
    columns = [FEATURES[name](clock, asked, past) for name in names]
    empty = np.zeros((len(asked.item_rows), 0))
    return np.stack(columns, axis=1).astype(np.float32) if columns else empty.astype(np.float32)


def check_features(names: tuple[str, ...], clock: ItemClock) -> None:
    """Raises: UnknownNameError, or ConfigError if the clock lacks what a feature needs."""
    for name in names:
        if name not in FEATURES:
            raise UnknownNameError.of("candidate feature", name, FEATURES)
        if name not in available_features(clock):
            what = "item categories" if name == "category_match" else "exposures"
            raise ConfigError(f"candidate feature ({name}) must have {what} in the log, which has none; leave it out")


def available_features(clock: ItemClock) -> tuple[str, ...]:
    """The names that this clock can answer."""
    return tuple(
        name
        for name in FEATURES
        if (clock.shown is not None or name not in ("shown_day", "shown_hour", "click_rate_day"))
        and (clock.categories is not None or name != "category_match")
    )


def _times_seen(clock: ItemClock, asked: Asked, past: Past) -> np.ndarray:
    _, first, end = _own_events(asked, past)
    return np.log1p(end - first)


def _since_seen(clock: ItemClock, asked: Asked, past: Past) -> np.ndarray:
    order, first, end = _own_events(asked, past)
    seen = end > first
    since = np.full(len(first), _NEVER_SEEN)
    since[seen] = _log_hours(asked.now_ms[seen] - past.time_ms[order[end[seen] - 1]])
    return since


def _age(clock: ItemClock, asked: Asked, past: Past) -> np.ndarray:
    return _log_hours(asked.now_ms - clock.first_ms(asked.item_rows, asked.now_ms))


def _is_new(clock: ItemClock, asked: Asked, past: Past) -> np.ndarray:
    return clock.first_ms(asked.item_rows, asked.now_ms) == asked.now_ms


def _is_cold(clock: ItemClock, asked: Asked, past: Past) -> np.ndarray:
    return asked.is_cold


def _chosen(window_ms: int | None) -> Callable[[ItemClock, Asked, Past], np.ndarray]:
    return lambda clock, asked, past: np.log1p(clock.count(clock.events, asked.item_rows, asked.now_ms, window_ms))


def _shown(window_ms: int) -> Callable[[ItemClock, Asked, Past], np.ndarray]:
    return lambda clock, asked, past: np.log1p(_count(clock, clock.shown, asked, window_ms))


def _click_rate_day(clock: ItemClock, asked: Asked, past: Past) -> np.ndarray:
    clicks, shown = (_count(clock, kind, asked, _DAY_MS) for kind in (clock.clicked, clock.shown))
    return (clicks + _PRIOR_CLICKS) / (shown + _PRIOR_SHOWN)


def _category_match(clock: ItemClock, asked: Asked, past: Past) -> np.ndarray:
    """The share of the user's newest events that have a category in common with the candidate."""
    assert clock.categories is not None
    begins = np.maximum(past.offsets[:-1], past.offsets[1:] - _CATEGORY_EVENTS)
    recent = flat_index(begins, past.offsets[1:])
    owner = np.repeat(np.arange(len(begins)), past.offsets[1:] - begins)
    size = int(clock.categories.values.max(initial=0)) + 1
    event, event_category = _expanded(clock.categories, past.item_rows[recent])
    key = owner[event] * size + event_category
    order = np.argsort(key, kind="stable")
    candidate, category = _expanded(clock.categories, asked.item_rows)
    wanted = asked.user[candidate] * size + category
    low, high = (np.searchsorted(key[order], wanted, side=side) for side in ("left", "right"))
    matched = np.repeat(candidate, high - low) * max(len(recent), 1) + event[order[flat_index(low, high)]]
    hits = np.bincount(np.unique(matched) // max(len(recent), 1), minlength=len(asked.item_rows))
    return hits / np.maximum(past.offsets[1:] - begins, 1)[asked.user]


FEATURES: dict[str, Callable[[ItemClock, Asked, Past], np.ndarray]] = {
    "times_seen": _times_seen,
    "since_seen": _since_seen,
    "age": _age,
    "is_new": _is_new,
    "is_cold": _is_cold,
    "popularity": _chosen(None),
    "popularity_day": _chosen(_DAY_MS),
    "popularity_hour": _chosen(_HOUR_MS),
    "shown_day": _shown(_DAY_MS),
    "shown_hour": _shown(_HOUR_MS),
    "click_rate_day": _click_rate_day,
    "category_match": _category_match,
}


def _log_hours(elapsed_ms: np.ndarray) -> np.ndarray:
    return np.log1p(elapsed_ms / _HOUR_MS)


def _count(clock: ItemClock, kind: Listed | None, asked: Asked, window_ms: int) -> np.ndarray:
    assert kind is not None
    return clock.count(kind, asked.item_rows, asked.now_ms, window_ms)


def _own_events(asked: Asked, past: Past) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Events ``order[first[c]:end[c]]`` of the past are those of candidate ``c``'s user with its item, oldest first."""
    size = int(max(past.item_rows.max(initial=0), asked.item_rows.max(initial=0))) + 2
    owner = np.repeat(np.arange(len(past.offsets) - 1), np.diff(past.offsets))
    key = owner * size + past.item_rows + 1
    order = np.argsort(key, kind="stable")
    wanted = asked.user * size + asked.item_rows + 1
    first, end = (np.searchsorted(key[order], wanted, side=side) for side in ("left", "right"))
    return order, np.where(asked.item_rows < 0, end, first), end


def _expanded(listed: Listed, item_rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``(row, value)`` for each value of each of the items: which of ``item_rows`` it belongs to, and what it is."""
    start, stop = listed.bounds(item_rows)
    return np.repeat(np.arange(len(item_rows)), stop - start), np.asarray(listed.values)[flat_index(start, stop)]
