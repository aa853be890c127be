"""What a log holds, counted before it is sorted: users, items, actions, and where its rows lie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from hpgr.data.history_rule import HistoryRule, actions_of
from hpgr.data.log import EventLog
from hpgr.data.ordering import stable_codes

_SPANS = 4096
_BATCH_ROWS = 500_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Census:
    """Of the rows that a store takes: ``users [U]`` and ``items [V]`` sorted, with rows per user; ``actions`` sorted.

    Categorical ids stand as strings here. ``shown_at [n]`` counts exposures in ``n`` spans of ``span_ms`` from
    ``first_ms`` on.
    """

    users: pl.Series
    items: pl.Series
    events_of_user: np.ndarray
    shown_of_user: np.ndarray
    actions: list[str]
    num_rows: int
    shown_at: np.ndarray
    first_ms: int
    span_ms: int


def take_census(log: EventLog, rule: HistoryRule, *, first_ms: int, last_ms: int) -> Census:
    """The census of the rows of ``log`` that ``rule`` leaves; its times lie between ``first_ms`` and ``last_ms``."""
    rows = rule.rows(log)
    shown = pl.col("label").is_not_null() if "label" in log.roles else pl.lit(False)
    counts = [pl.len().alias("rows"), pl.col("is_history").sum().alias("events"), shown.sum().alias("shown")]
    users, items = pl.collect_all(
        [rows.group_by("user").agg(counts).sort("user"), rows.select(pl.col("item").unique()).sort("item")],
        engine="streaming",
    )
    span = (last_ms - first_ms) // _SPANS + 1
    shown_at = np.zeros(_SPANS, dtype=np.int64)
    if users["shown"].sum():
        at = ((pl.col("time_ms") - first_ms) // span).alias("at")
        found = rows.filter(shown).group_by(at).len().collect(engine="streaming")
        shown_at[found["at"].to_numpy()] = found["len"].to_numpy()
    return Census(
        users=users["user"],
        items=items["item"],
        events_of_user=users["events"].to_numpy().astype(np.int64),
        shown_of_user=users["shown"].to_numpy().astype(np.int64),
        actions=actions_of(rows, log) if {"event", "label"} & log.roles.keys() else [],
        num_rows=int(users["rows"].sum()),
        shown_at=shown_at,
        first_ms=first_ms,
        span_ms=span,
    )


def coded_batches(
    log: EventLog, rule: HistoryRule, *, users: pl.Series, items: pl.Series, actions: list[str], with_sessions: bool
) -> Iterator[pl.DataFrame]:
    """The rows of a census in file order, a batch at a time, ids and names replaced by integers.

    Columns: ``user`` and ``item`` rows in ``users`` and ``items``, ``time``, ``action``, ``is_history``, and of
    ``weight``, ``label``, ``tie``, ``session``, ``request`` and features what the log has.
    """
    codes = list(range(1, len(actions) + 1))
    action = pl.col("action_name").replace_strict(actions, codes, default=0, return_dtype=pl.Int16)
    keep = [role for role in log.roles if role in ("weight", "label", "tie", "request") or role.startswith("feature:")]
    # A log that is added to a store may have narrower integers than it.
    rows = rule.rows(log).with_columns(pl.col("user").cast(users.dtype), pl.col("item").cast(items.dtype))
    rows = rows.join(_table(users, "user"), on="user", how="left", maintain_order="left")
    rows = rows.join(_table(items, "item"), on="item", how="left", maintain_order="left").select(
        pl.col("user row").alias("user"),
        pl.col("item row").alias("item"),
        pl.col("time_ms").alias("time"),
        (action if actions else pl.lit(0, dtype=pl.Int16)).alias("action"),
        "is_history",
        *keep,
        *(["session"] if with_sessions else []),
    )
    for batch in rows.collect_batches(chunk_size=_BATCH_ROWS, maintain_order=True, engine="streaming"):
        coded = [batch[name].rename(name) for name in ("session", "request") if name in batch.columns]
        yield batch.with_columns(pl.Series(values.name, stable_codes(values)) for values in coded)


def _table(ids: pl.Series, name: str) -> pl.LazyFrame:
    rows = pl.Series(f"{name} row", np.arange(len(ids), dtype=np.int32))
    return pl.DataFrame([ids.rename(name), rows]).lazy()
