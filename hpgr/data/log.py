"""One event log, held lazily: who did what with which item, when."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import polars as pl

from hpgr.core.errors import ConfigError, DataError
from hpgr.data.columns import DEFAULT_COLUMNS, Columns
from hpgr.data.log_checks import Measured, Problem, measure, problems_of, time_note
from hpgr.data.reading import open_table

TimeUnit = Literal["s", "ms", "us", "order"]
_TEXT = (pl.String, pl.Categorical, pl.Enum)


@dataclass(frozen=True, kw_only=True, slots=True)
class LogFacts:
    """What one pass over a valid log found; times in ms, UTC.

    ``time_unit_note`` says how times were read. ``num_labelled`` rows are exposures. ``nulls`` counts by role.
    """

    rows: int
    num_labelled: int
    min_time_ms: int
    max_time_ms: int
    time_unit_note: str
    nulls: dict[str, int]


class EventLog:
    """A log whose columns are known and whose values are read when asked for, in the order of its rows.

    >>> frame = pl.DataFrame({"user_id": [7, 7], "item_id": ["a", "b"], "timestamp": [1_700_000_000, 1_700_000_060]})
    >>> EventLog.read(frame).facts.time_unit_note
    'timestamp read as s (inferred: 2023-11-14 to 2023-11-14)'
    """

    def __init__(self, source: Any, columns: Columns, time_unit: TimeUnit | None, name: str | None) -> None:
        """Use ``EventLog.read``."""
        if time_unit not in (None, *get_args(TimeUnit)):
            raise ConfigError(f"time_unit ({time_unit}) must be s, ms or us, or order where a log has no times")
        ids = (columns.user, columns.item, columns.session, columns.request)
        table, found_name = open_table(source, wanted=columns.named(), ids=ids)
        schema = table.collect_schema()
        self._source = source
        self.name = name or found_name
        self.columns = columns
        self.time_unit = time_unit
        self.roles = columns.present(schema.names(), self.name)
        self.user_type = schema[self.roles["user"]]
        self.item_type = schema[self.roles["item"]]
        for role, column in self.roles.items():
            _check_type(role, column, schema[column], self.name)
        if time_unit is not None and schema[columns.time] in (pl.Date, pl.Datetime):
            raise ConfigError(
                f"time_unit ({time_unit}) must be left out; {columns.time} of {self.name} holds datetimes"
            )
        select = [_canonical(role, pl.col(column), schema[column]) for role, column in self.roles.items()]
        self._table = table.select(expr.alias(role) for expr, role in zip(select, self.roles))

    @classmethod
    def read(
        cls,
        source: Any,
        *,
        columns: Columns = DEFAULT_COLUMNS,
        time_unit: TimeUnit | None = None,
        name: str | None = None,
    ) -> EventLog:
        """The log in ``source``: a Parquet, CSV or Arrow file, a folder of Parquet files, a frame of any kind.

        ``time_unit`` of integer times is inferred where not declared; ``order``: the column only tells the order of a user's
        events, a step stands for a second, and splits by time are refused. ``name`` stands for the log in messages, by default
        its path. Values are checked later, by ``validate``.

        Raises: DataError where columns are missing or of a type that cannot be meant.
        """
        return cls(source, columns, time_unit, name)

    def ordered_by(self, column: str) -> EventLog:
        """The same log with ``column`` as the order of simultaneous events."""
        if self.columns.tie == column:
            return self
        return EventLog(self._source, replace(self.columns, tie=column), self.time_unit, self.name)

    @property
    def path(self) -> Path | None:
        """Where the log lies, where it was read from a file or folder."""
        return Path(self._source) if isinstance(self._source, (str, Path)) else None

    @cached_property
    def _measured(self) -> Measured:
        return measure(self._table, self.roles, self.time_unit, self.name)

    @cached_property
    def problems(self) -> tuple[Problem, ...]:
        """Everything in the values that would corrupt a result, found in one streaming pass."""
        return problems_of(self._measured)

    def validate(self) -> LogFacts:
        """The facts of a log without problems.

        Raises: DataError with the first problem and the number of others.
        """
        if self.problems:
            others = len(self.problems) - 1
            more = f" ({others} more found; hpgr doctor lists them)" if others else ""
            raise DataError(self.problems[0].message + more)
        return self.facts

    @property
    def facts(self) -> LogFacts:
        """What the pass of ``problems`` counted."""
        found = self._measured
        return LogFacts(
            rows=found.count["rows"],
            num_labelled=found.count.get("labelled", 0),
            min_time_ms=found.in_ms(found.count["min time"]),
            max_time_ms=found.in_ms(found.count["max time"]),
            time_unit_note=time_note(found),
            nulls={role: found.count[f"null {role}"] for role in self.roles if f"null {role}" in found.count},
        )

    def events(self) -> pl.LazyFrame:
        """Rows in file order under the names of their roles, with ``time_ms`` int64 in place of ``time``."""
        return self._table.with_columns(self._measured.ms_expression().alias("time_ms")).drop("time")


def _check_type(role: str, column: str, kind: pl.DataType, log: str) -> None:
    name = f"{column} of {log} ({kind})"
    numeric = kind.is_integer() or kind.is_float() or kind == pl.Boolean
    if role in ("user", "item", "session", "request"):
        if kind == pl.Object:
            raise DataError(f"{name} must be all integers or all strings; convert the mixed values to strings")
        if kind.is_float():
            raise DataError(f"{name} must be integers or strings; floats come from missing values: drop those rows")
        if not (kind.is_integer() or kind in _TEXT or kind == pl.Null):
            raise DataError(f"{name} must be integers or strings; convert it")
    elif role == "time":
        if kind.is_float():
            raise DataError(f"{name} must be a datetime or an integer; floats lose milliseconds: cast it to int64")
        if not (kind.is_integer() or kind in (pl.Date, pl.Datetime, pl.String, pl.Null)):
            raise DataError(f"{name} must be a datetime or an integer in s, ms or us; convert it")
    elif role == "event":
        if kind.is_nested() or kind == pl.Object:
            raise DataError(f"{name} must be the name of an action; convert it to strings")
    elif role == "tie":
        if not (numeric or kind.is_temporal() or kind == pl.Null):
            raise DataError(f"{name} must be a number to order simultaneous events by; convert it")
    elif not (numeric or kind == pl.Null):
        remedy = "; code it as integers or put it into the items table" if role.startswith("feature:") else ""
        raise DataError(f"{name} must be a number{remedy}")


def _canonical(role: str, column: pl.Expr, kind: pl.DataType) -> pl.Expr:
    if role in ("user", "item", "session", "request", "event"):
        return column if kind.is_integer() and role != "event" else column.cast(pl.String)
    if role in ("weight", "label"):
        return column.cast(pl.Float32)
    if role == "tie":
        return column.to_physical().cast(pl.Float64 if kind.is_float() else pl.Int64)
    if role.startswith("feature:"):
        return column.cast(pl.Float32 if kind.is_float() else pl.Int64)
    return column
