"""Training, validation and test parts of a store, with the certificate of what exactly is asked.

Every history precedes its target in the store's order; in a store whose ties are a ``set``, it is strictly earlier.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpgr.core.errors import ConfigError, DataError, UnknownNameError
from hpgr.data.catalogue import Catalogue
from hpgr.data.certificate import Certificate, certify
from hpgr.data.leakage import refuse_leaks
from hpgr.data.ranges import Queries, Ranges, flat_index, lower_bound, offsets_from
from hpgr.data.request_parts import answered_in
from hpgr.data.split_rules import Given, GlobalTime, LastSession, LeaveOneOut, SplitRule, border_ms
from hpgr.data.store import SequenceStore

_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Split:
    """The parts of one store. Requests are rows of its exposures, in order of time; none where there are no exposures.

    The history of a request is what its user did strictly before it. One that a held-out event answers belongs to the part of
    that event, also where it was shown earlier.
    """

    catalogue: Catalogue
    train: Ranges
    validation: Queries
    test: Queries
    train_requests: np.ndarray
    validation_requests: np.ndarray
    test_requests: np.ndarray
    certificate: Certificate


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Held:
    """For each user, ``[U]``: where the held-out events lie, and from when requests belong to a part."""

    validation: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    train_stop: np.ndarray
    valid_ms: np.ndarray
    test_ms: np.ndarray
    end_ms: int = _NEVER


def split(store: SequenceStore, config: SplitRule, *, parts: np.ndarray | None = None) -> Split:
    """Hold out validation and test events as ``config`` says; ``parts [N]`` (0, 1, 2) belongs to ``Given()``.

    Raises: DataError if nothing is left to train on or to test, or given parts are not in order; ConfigError for a split by
    time of a store that has no times.
    """
    if isinstance(config, GlobalTime) and not store.timed:
        raise ConfigError(f"split ({config}) must not go by time: {store.path} tells an order only; use LeaveOneOut()")
    if (parts is not None) != (isinstance(config, Given) and config.column is None):
        raise ConfigError("parts must be given to Given() without a column, and to no other rule")
    if isinstance(config, GlobalTime):
        held = _by_time(store, config)
    elif isinstance(config, LeaveOneOut):
        held = _last_event(store, config)
    elif isinstance(config, LastSession):
        held = _last_session(store)
    else:
        held = _given(store, _parts_of(store, config) if parts is None else parts)
    first = np.asarray(store.user_offsets[:-1])
    trained = np.flatnonzero(held.train_stop > first)
    train = Ranges(user_idx=trained, start=first[trained], stop=held.train_stop[trained])
    catalogue = Catalogue.from_ranges(store, train)
    targets = "last" if isinstance(config, LeaveOneOut) else config.targets
    limit = config.max_targets_per_user if isinstance(config, GlobalTime) else None
    test = _queries(store, *held.test, targets, limit)
    if not len(test):
        raise DataError(
            f"test part (0 targets) of {config} must hold at least one; move the border or use a longer log"
        )
    validation = _queries(store, *held.validation, targets, limit)
    for asked in (validation, test):
        refuse_leaks(store, asked)
    requests = _requests(store, held)
    return Split(
        catalogue=catalogue,
        train=train,
        validation=validation,
        test=test,
        train_requests=requests[0],
        validation_requests=requests[1],
        test_requests=requests[2],
        certificate=certify(store, rule=str(config), train=train, catalogue=catalogue, test=test, requests=requests[2]),
    )


def history_stop(store: SequenceStore, start: np.ndarray, target: np.ndarray) -> np.ndarray:
    """``[n]`` int64: where the history of the event ``target [n]`` ends that begins at ``start [n]``."""
    if store.ties != "set":
        return target
    return lower_bound(store.time_ms, start, target, np.asarray(store.time_ms)[target])


def _by_time(store: SequenceStore, config: GlobalTime) -> _Held:
    times = np.asarray(store.time_ms)
    until = border_ms("test_until", config.test_until)
    test_ms = border_ms("test_from", config.test_from)
    valid_ms = border_ms("valid_from", config.valid_from)
    if test_ms is None:
        test_ms = int(np.partition(times, at := int(len(times) * (1 - config.test_share)))[at])
    if valid_ms is None:
        earlier = times[times < test_ms]
        at = max(len(earlier) - round(len(times) * config.valid_share), 0)
        valid_ms = int(np.partition(earlier, at)[at]) if at < len(earlier) else test_ms
    if not valid_ms <= test_ms < (_NEVER if until is None else until):
        raise ConfigError(f"borders (valid_from {valid_ms}, test_from {test_ms}, test_until {until}) must rise")
    first, end = np.asarray(store.user_offsets[:-1]), np.asarray(store.user_offsets[1:])
    valid, test, stop = (
        end if border is None else lower_bound(times, first, end, np.full(len(first), border))
        for border in (valid_ms, test_ms, until)
    )
    return _Held(
        validation=(valid, test),
        test=(test, stop),
        train_stop=valid,
        valid_ms=np.full(len(first), valid_ms),
        test_ms=np.full(len(first), test_ms),
        end_ms=_NEVER if until is None else until,
    )


def _last_event(store: SequenceStore, config: LeaveOneOut) -> _Held:
    first, end = np.asarray(store.user_offsets[:-1]), np.asarray(store.user_offsets[1:])
    before_test = _stop_before(store, first, end - 1, end > first)
    tested = before_test > first
    before_valid = _stop_before(store, first, before_test - 1, tested)
    validated = tested & (before_valid > first) & (not config.train_on_validation)
    return _held(
        store,
        validation=(before_test - validated, before_test),
        test=(end - tested, end),
        train_stop=np.where(validated, before_valid, np.where(tested, before_test, first)),
    )


def _last_session(store: SequenceStore) -> _Held:
    first, end = np.asarray(store.user_offsets[:-1]), np.asarray(store.user_offsets[1:])
    borders = np.asarray(store.session_offsets)
    at = np.searchsorted(borders, end, side="left")
    count = at - np.searchsorted(borders, first, side="left")
    last, second = borders[np.maximum(at - 1, 0)], borders[np.maximum(at - 2, 0)]
    test = np.where(count >= 2, last, end)
    valid = np.where(count >= 3, second, test)
    train_stop = _stop_before(store, first, valid, valid < end)
    return _held(store, validation=(valid, test), test=(test, end), train_stop=train_stop)


def _given(store: SequenceStore, parts: np.ndarray) -> _Held:
    if len(parts) != len(store.item_idx) or not np.isin(parts, (0, 1, 2)).all():
        raise DataError(f"given parts ({len(parts)} rows) must be 0, 1 or 2 for each of {len(store.item_idx)} events")
    first, end = np.asarray(store.user_offsets[:-1]), np.asarray(store.user_offsets[1:])
    # An unsigned difference never falls.
    parts = np.asarray(parts, dtype=np.int64)
    falls = np.diff(parts) < 0
    falls[first[(first > 0) & (first < len(parts))] - 1] = False
    if falls.any():
        user = int(np.searchsorted(end, int(np.argmax(falls)), side="right"))
        raise DataError(
            f"given parts of user {store.users.at([user])[0]} (a later event is in an earlier part) must rise in time: "
            "training, validation, test"
        )
    valid = lower_bound(parts, first, end, np.full(len(first), 1))
    test = lower_bound(parts, first, end, np.full(len(first), 2))
    train_stop = _stop_before(store, first, valid, valid < end)
    return _held(store, validation=(valid, test), test=(test, end), train_stop=train_stop)


def _parts_of(store: SequenceStore, config: Given) -> np.ndarray:
    if config.column not in store.features:
        raise UnknownNameError.of("feature column of the store", str(config.column), store.features)
    return np.asarray(store.features[config.column])


def _stop_before(store: SequenceStore, first: np.ndarray, target: np.ndarray, there: np.ndarray) -> np.ndarray:
    """``[U]`` int64: where the history of ``target`` ends, and ``target`` itself where it is not ``there``."""
    stop = target.copy()
    stop[there] = history_stop(store, first[there], target[there])
    return stop


def _held(
    store: SequenceStore,
    *,
    validation: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    train_stop: np.ndarray,
) -> _Held:
    """Borders of requests from the borders of events: a part begins with its first held-out event."""
    times = np.asarray(store.time_ms)

    def begins(segment: tuple[np.ndarray, np.ndarray], otherwise: np.ndarray) -> np.ndarray:
        start, filled = segment[0], segment[1] > segment[0]
        return np.where(filled, times[np.where(filled, start, 0)], otherwise)

    test_ms = begins(test, np.full(len(train_stop), _NEVER))
    valid_ms = begins(validation, test_ms)
    return _Held(validation=validation, test=test, train_stop=train_stop, valid_ms=valid_ms, test_ms=test_ms)


def _queries(store: SequenceStore, start: np.ndarray, stop: np.ndarray, targets: str, limit: int | None) -> Queries:
    user = np.flatnonzero(stop > start)
    start, stop = start[user], stop[user]
    stop = stop if limit is None else np.minimum(stop, start + limit)
    per_user = np.ones(len(user), dtype=np.int64)
    if targets == "successive":
        per_user, first_target = stop - start, flat_index(start, stop)
    else:
        first_target = stop - 1 if targets == "last" else start
    user = np.repeat(user, per_user)
    begins = np.asarray(store.user_offsets)[user]
    row, item = np.arange(len(user)), np.asarray(store.item_idx)[first_target].astype(np.int64)
    if targets == "all":
        every = np.asarray(store.item_idx)[flat_index(start, stop)].astype(np.int64)
        pair = np.unique(np.repeat(row, stop - start) * len(store.items) + every)
        row, item = pair // len(store.items), pair % len(store.items)
    return Queries(
        user_idx=user,
        start=begins,
        stop=history_stop(store, begins, first_target),
        now_ms=np.asarray(store.time_ms)[first_target].astype(np.int64),
        target_offsets=offsets_from(np.bincount(row, minlength=len(user))),
        target_idx=item,
    )


def _requests(store: SequenceStore, held: _Held) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if store.exposures is None:
        none = np.zeros(0, dtype=np.int64)
        return none, none, none
    user, time_ms = np.asarray(store.exposures.request_user), np.asarray(store.exposures.request_time_ms)
    part = np.where(time_ms < held.valid_ms[user], 0, np.where(time_ms < held.test_ms[user], 1, 2))
    part = np.maximum(part, answered_in(store, {1: held.validation, 2: held.test}))
    part[time_ms >= held.end_ms] = 3
    return np.flatnonzero(part == 0), np.flatnonzero(part == 1), np.flatnonzero(part == 2)
