"""Whose history is asked about: users of a store, or bare histories in any of the forms a caller has them in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from hpgr.core.errors import ConfigError, DataError
from hpgr.core.vocabulary import Vocabulary
from hpgr.data.columns import DEFAULT_COLUMNS, OPTIONAL, REQUIRED, Columns
from hpgr.data.history import Events, RawEvents, Recoded, ordered_events
from hpgr.data.history_rule import DEFAULT_HISTORY, HistoryRule
from hpgr.data.log import EventLog
from hpgr.data.ordering import canonical_codes, stable_codes
from hpgr.data.ranges import lower_bound, offsets_from
from hpgr.data.reading import open_table
from hpgr.data.sessions import GivenSessions, IdleGap, SessionRule
from hpgr.data.split_rules import border_ms
from hpgr.data.store import SequenceStore

ANONYMOUS = "anonymous"
_TIE = "tie"
_IDS = ("user", "item", "session", "request")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AskedHistories:
    """``B`` histories: events ``start [B] … stop [B]-1`` of ``events``, asked at ``now_ms [B]`` for ``users [B]``.

    ``unknown_users``: ids that were asked for and are not in the store. ``unknown_items``: ids in the histories that no
    log of the model holds. ``dropped``: events left out because they were not before ``now``.
    """

    events: Events
    users: pl.Series
    start: np.ndarray
    stop: np.ndarray
    now_ms: np.ndarray
    unknown_users: tuple[Any, ...] = ()
    unknown_items: tuple[Any, ...] = ()
    dropped: int = 0


def of_users(
    store: SequenceStore, users: Sequence[Any], at: int | str | datetime | None, *, actions: Sequence[str] | None = None
) -> AskedHistories:
    """Users of ``store`` by their ids, asked ``at`` a moment (default: just after the store's newest event).

    ``actions``: kinds of events by the codes that they are to have, where those may not be the store's: a store that grew by a
    kind counts anew. Kinds that are not among them have the code 0.
    """
    ids = pl.Series("user_id", list(users), strict=False)
    rows = store.users.rows(ids)
    known = rows >= 0
    now = moment_ms(at, default=int(np.max(store.time_ms, initial=-1)) + 1)
    if at is not None and store.num_events and now < (begin := int(np.min(store.time_ms))):
        raise ConfigError(
            f"at ({at}, ms {now}) must not lie before all events of the store, the first of which is at ms {begin}; "
            "give ms since 1970 or an ISO date-time"
        )
    offsets = np.asarray(store.user_offsets)
    start, end = offsets[rows[known]], offsets[rows[known] + 1]
    now_ms = np.full(int(known.sum()), now)
    events: Events = store
    if actions is not None and list(actions) != store.actions:
        code = {name: i + 1 for i, name in enumerate(actions)}
        events = Recoded(store, store.action, np.array([0, *(code.get(name, 0) for name in store.actions)]))
    return AskedHistories(
        events=events,
        users=store.users.at(rows[known]).rename("user_id"),
        start=start,
        stop=lower_bound(store.time_ms, start, end, now_ms),
        now_ms=now_ms,
        unknown_users=tuple(ids.filter(pl.Series(~known))),
    )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LogFacts:
    """What a bare history must share with the log that a model was trained on: ``items`` known, session ``rule``, ``ties``,
    ``actions`` in the order of their codes, ``end_ms``, just after its newest event, and which rows are ``history``. ``columns``:
    its names by role. ``timed``: its times are times, and not only an order."""

    items: Vocabulary
    rule: SessionRule
    ties: str
    actions: tuple[str, ...]
    end_ms: int
    history: HistoryRule = DEFAULT_HISTORY
    columns: Mapping[str, str] = field(default_factory=dict)
    timed: bool = True


def of_histories(histories: Any, log: LogFacts, at: int | str | datetime | None) -> AskedHistories:
    """Bare histories: ids of one anonymous user; a mapping of user id to ids; or a table, or its path, in the log's columns or
    the usual ones.

    Ids without times are taken as one event a second, the newest a second before ``at`` (default: the end of the log). A table
    needs no user column if it is one anonymous user's; of its rows those count that would be history in the log. With times,
    ``at`` defaults to just after each user's newest event.
    """
    if isinstance(histories, Mapping) or (isinstance(histories, Sequence) and not isinstance(histories, str)):
        table = _bare(histories, moment_ms(at, default=log.end_ms))
    else:
        table = _table(histories, log)
    ids = pl.Series(list(histories)) if isinstance(histories, Mapping) else table["user"]
    users = Vocabulary.of(ids) if len(ids) else Vocabulary(pl.Series("id", [ANONYMOUS]))
    row = users.rows(table["user"].cast(users.ids.dtype))
    order = np.argsort(row, kind="stable")
    table, offsets = table[order], offsets_from(np.bincount(row, minlength=len(users)))
    raw, rule = _raw(table, offsets, log)
    newest = np.zeros(len(users), dtype=np.int64)
    np.maximum.at(newest, row[order], raw.time_ms)
    latest = np.where(np.diff(offsets) > 0, newest + 1, log.end_ms)
    now_ms = latest if at is None else np.full(len(users), moment_ms(at, default=0))
    ordered = ordered_events(raw, now_ms, session_rule=rule)
    return AskedHistories(
        events=ordered,
        users=users.ids.rename("user_id"),
        start=ordered.user_offsets[:-1],
        stop=ordered.user_offsets[1:],
        now_ms=now_ms,
        unknown_items=tuple(table["item"].filter(pl.Series(raw.item_idx < 0)).unique(maintain_order=True)),
        dropped=ordered.dropped,
    )


def moment_ms(at: int | str | datetime | None, *, default: int) -> int:
    """``at`` in ms, UTC.

    Raises: ConfigError if it is no moment.
    """
    if at is None:
        return default
    if isinstance(at, datetime):
        at = at.isoformat()
    found = border_ms("at", at)
    assert found is not None
    if found < 0:
        raise ConfigError(f"at ({at}) must not be negative; give ms since 1970 or an ISO date-time")
    return found


def _bare(histories: Sequence[Any] | Mapping[Any, Sequence[Any]], at_ms: int) -> pl.DataFrame:
    rows = histories if isinstance(histories, Mapping) else {ANONYMOUS: histories}
    user = [user for user, items in rows.items() for _ in items]
    item = [item for items in rows.values() for item in items]
    back = [len(items) - i for items in rows.values() for i in range(len(items))]
    if len({isinstance(i, str) for i in item}) > 1:
        raise DataError("history ids (strings and numbers mixed) must be of one type; write them as in your log")
    time_ms = np.array([at_ms - 1000 * b for b in back], dtype=np.int64)
    return pl.DataFrame({"user": pl.Series(user), "item": pl.Series(item), "time_ms": time_ms})


def _table(histories: Any, facts: LogFacts) -> pl.DataFrame:
    usual = {role: getattr(DEFAULT_COLUMNS, role) for role in (*REQUIRED, *OPTIONAL)}
    ids = {names[role] for names in (usual, facts.columns) for role in _IDS if role in names}
    opened, name = open_table(histories, ids=sorted(ids))
    present = opened.collect_schema().names()
    named = {role: own for role, own in facts.columns.items() if role in usual and own in present}
    columns = Columns(**usual | named)
    for role in ("item", "time"):
        if (column := getattr(columns, role)) not in present:
            own = facts.columns.get(role, column)
            names = f"{own}, as in the log, or {column}" if own != column else column
            raise DataError(f"column of {role}s of {name} (absent) must be named {names}; it has {', '.join(present)}")
    if columns.user not in present:
        opened = opened.with_columns(pl.lit(ANONYMOUS).alias(columns.user))
    log = EventLog.read(opened, columns=columns, name=name, time_unit=None if facts.timed else "order")
    log.validate()
    # Rows that name no kind of event are taken to be of one that counts.
    rule = facts.history if "event" in log.roles else replace(facts.history, events=None)
    rows = rule.rows(log).filter("is_history")
    if rule.duplicates == "drop":
        rows = rows.unique(["user", "item", "time_ms", "action_name"], keep="first", maintain_order=True)
    return rows.collect()


def _raw(table: pl.DataFrame, offsets: np.ndarray, log: LogFacts) -> tuple[RawEvents, SessionRule]:
    """Events by the log's rows and codes; sessions by id fall back on their gap where a history has no session ids."""
    rule, codes = log.rule, None
    if rule.needs_codes and "session" in table.columns:
        codes = stable_codes(table["session"])
    elif isinstance(rule, GivenSessions):
        rule = IdleGap(gap_s=rule.gap_s)
    ids = table["item"].cast(log.items.ids.dtype, strict=False)
    raw = RawEvents(
        item_idx=log.items.rows(ids),
        time_ms=table["time_ms"].to_numpy(),
        action=_action_codes(table, log.actions),
        offsets=offsets,
        session_code=codes,
        tie=_tie_codes(table, ids, log.ties),
    )
    return raw, rule


def _tie_codes(table: pl.DataFrame, ids: pl.Series, ties: str) -> np.ndarray | None:
    """How simultaneous events are ordered, as in a store: by a column where the history has it, then by item; or None, as given."""
    if ties == "file" or (ties != "set" and _TIE not in table.columns):
        return None
    codes = canonical_codes(ids)
    if _TIE not in table.columns:
        return codes
    order = np.lexsort((codes, table[_TIE].to_numpy()))
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return place


def _action_codes(table: pl.DataFrame, actions: Sequence[str]) -> np.ndarray:
    """As in a store: 0 for an unknown action, else 1 + its place among the log's."""
    if "action_name" not in table.columns or not actions:
        return np.zeros(len(table), dtype=np.int64)
    codes = {name: i + 1 for i, name in enumerate(actions)}
    return table["action_name"].replace_strict(codes, default=0, return_dtype=pl.Int64).fill_null(0).to_numpy()
