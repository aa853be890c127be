"""The value checks of a log: one streaming pass counts, then each count that must be zero becomes a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone

import polars as pl

from hpgr.core.errors import DataError

_PER_SECOND = {"s": 1, "ms": 1000, "us": 1_000_000}
_YEAR_1990_S = 631_152_000
_YEAR_2100_S = 4_102_444_800
ORDER = "order"
_YEAR_FIRST = r"^\s*\d{4}\D?\d"
_OFFSET = r"(Z|[+-]\d{2}:?\d{2})$"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in a log that would corrupt a result: a code for machines, a sentence for people."""

    code: str
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """The counts of one pass. ``unit`` of the times is s, ms, us, ``order`` for steps, or ``datetime`` for times that are in ms."""

    log: str
    roles: dict[str, str]
    count: dict[str, int]
    time: pl.Expr
    unit: str
    declared: bool

    def in_ms(self, value: int | None) -> int:
        """A time of this log in ms; 0 for None."""
        if value is None or self.unit in ("ms", "datetime"):
            return value or 0
        return value // 1000 if self.unit == "us" else value * 1000

    def ms_expression(self) -> pl.Expr:
        """Column ``time`` of this log in ms, int64."""
        if self.unit in ("ms", "datetime"):
            return self.time
        return self.time // 1000 if self.unit == "us" else self.time * 1000


def measure(table: pl.LazyFrame, roles: dict[str, str], time_unit: str | None, log: str) -> Measured:
    """Counts over a log's ``table``, whose columns are named by role; ``roles`` gives the user's names."""
    kinds = table.collect_schema()
    time, is_number = _time_expression(table, kinds["time"])
    counts = {"rows": pl.len(), "min time": time.min(), "max time": time.max(), "negative time": (time < 0).sum()}
    for role in roles:
        if role in ("user", "item", "time", "tie"):
            counts[f"null {role}"] = pl.col(role).is_null().sum()
        if kinds[role].is_float():
            counts[f"nan {role}"] = (pl.col(role).is_nan() | pl.col(role).is_infinite()).sum()
    if "weight" in roles:
        counts["negative weight"] = (pl.col("weight") < 0).sum()
    if "label" in roles:
        counts["labelled"] = pl.col("label").is_not_null().sum()
        counts["other label"] = (pl.col("label").is_finite() & ~pl.col("label").is_in([0.0, 1.0])).sum()
        if "request" in roles:
            counts["null request"] = (pl.col("request").is_null() & pl.col("label").is_not_null()).sum()
    if kinds["time"] == pl.String:
        counts["unread time"] = (pl.col("time").is_not_null() & time.is_null()).sum()
    for unit, factor in _PER_SECOND.items():
        if is_number:
            counts[f"plausible {unit}"] = time.is_between(_YEAR_1990_S * factor, _YEAR_2100_S * factor).sum()
            counts[f"above {unit}"] = (time > _YEAR_2100_S * factor).sum()
    counts["above datetime"] = (time > _YEAR_2100_S * 1000).sum()
    found = _collected(table.select(expr.alias(name) for name, expr in counts.items()), log)
    count = {name: value or 0 for name, value in found.items()}
    inferred = max(_PER_SECOND, key=lambda unit: count[f"plausible {unit}"]) if is_number else "datetime"
    unit = time_unit or inferred
    return Measured(log=log, roles=roles, count=count, time=time, unit=unit, declared=time_unit is not None)


def problems_of(found: Measured) -> tuple[Problem, ...]:
    """What must not be in a log, each as one sentence that names column, count and remedy."""
    if not found.count["rows"]:
        return (Problem("empty_log", f"log {found.log} (0 rows) must have events"),)
    return (*_null_problems(found), *_time_problems(found), *_number_problems(found))


def time_note(found: Measured) -> str:
    """How times were read, for people."""
    column = found.roles["time"]
    if found.unit == ORDER:
        return f"{column} read as order, a second a step: the log has no times"
    floored = "; floored to ms, inside which events keep the order of their rows" if found.unit == "us" else ""
    if found.declared:
        return f"{column} read as {found.unit} (declared){floored}"
    first, last = (_day(found.in_ms(found.count[f"{end} time"])) for end in ("min", "max"))
    if found.unit == "datetime":
        return f"{column} read as datetimes, UTC where no zone is given: {first} to {last}"
    return f"{column} read as {found.unit} (inferred: {first} to {last}){floored}"


def _time_expression(table: pl.LazyFrame, kind: pl.DataType) -> tuple[pl.Expr, bool]:
    """Times as int64: in ms where the log has datetimes, as they are (and True) where it has integers."""
    time = pl.col("time")
    if kind.is_integer() or kind == pl.Null:
        return time.cast(pl.Int64, strict=False), True
    if kind == pl.String:
        first = table.select(time.drop_nulls().first()).collect().item()
        # A day and a month that may be either are not guessed at.
        time = pl.when(time.str.contains(_YEAR_FIRST)).then(time)
        with_offset = pl.Series([first or ""]).str.contains(_OFFSET).item()
        return time.str.to_datetime(strict=False, time_zone="UTC" if with_offset else None).dt.epoch("ms"), False
    return time.cast(pl.Datetime("ms")).dt.epoch("ms") if kind == pl.Date else time.dt.epoch("ms"), False


def _collected(query: pl.LazyFrame, log: str) -> dict[str, int]:
    try:
        return query.collect(engine="streaming").row(0, named=True)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"log ({log}) must be readable to its end; {str(error).splitlines()[0]}") from None


def _null_problems(found: Measured) -> Iterator[Problem]:
    rows = found.count["rows"]
    for role in ("user", "item", "time", "tie", "request"):
        nulls = found.count.get(f"null {role}", 0)
        if nulls:
            which = "all" if nulls == rows else f"{nulls} of {rows}"
            rule = "must be given for everything shown" if role == "request" else "must be given for every event"
            yield Problem(f"null_{role}", f"{_name(found, role)} ({which} rows null) {rule}; drop or fill those rows")


def _time_problems(found: Measured) -> Iterator[Problem]:
    name, count, unit = _name(found, "time"), found.count, found.unit
    given = count["rows"] - count["null time"]
    if count.get("unread time"):
        yield Problem(
            "unreadable_time",
            f"{name} ({count['unread time']} of {given} values unreadable) must be datetimes such as "
            "2024-05-01T12:00:00, or integers; mend those rows",
        )
    if count["negative time"]:
        rule = "must not be before 1970; mend or drop those rows"
        yield Problem("negative_time", f"{name} ({count['negative time']} of {given} values negative) {rule}")
    if unit == ORDER:
        if count["above s"]:
            rule = f"must be steps below {_YEAR_2100_S}; number the events of each user"
            yield Problem("implausible_order", f"{name} ({count['above s']} of {given} values) {rule}")
        return
    seen = {u: count.get(f"plausible {u}", 0) for u in _PER_SECOND}
    trusted = found.declared or unit == "datetime"
    wrong = count[f"above {unit}"] if trusted else given - count["negative time"] - seen[unit]
    if not wrong:
        return
    if sum(n > 0 for n in seen.values()) > 1:
        listed = ", ".join(f"{n} values as of {u}" for u, n in seen.items() if n)
        yield Problem("mixed_time_units", f"{name} ({listed}) must be in one unit; convert them")
    elif unit == "datetime" or (found.declared and not any(n for u, n in seen.items() if u != unit)):
        rule = "must be before 2100; mend or drop those rows"
        yield Problem("implausible_time", f"{name} ({wrong} of {given} values) {rule}")
    elif found.declared:
        better = max(seen, key=lambda u: seen[u])
        yield Problem(
            "wrong_time_unit",
            f"{name} ({wrong} of {given} values after 2100 as {unit}) must fit its unit; time_unit='{better}' would",
        )
    else:
        values = f"{wrong} of {given} values, between {count['min time']} and {count['max time']}"
        yield Problem(
            "implausible_time",
            f"{name} ({values}) must lie between 1990 and 2100 in s, ms or us; declare time_unit, divide nanoseconds "
            "by 1000, or drop those rows",
        )


def _number_problems(found: Measured) -> Iterator[Problem]:
    count, rows = found.count, found.count["rows"]

    def problem(code: str, role: str, how: str, rule: str) -> Problem:
        return Problem(code, f"{_name(found, role)} ({count[f'{how} {role}']} of {rows} values) must {rule}")

    for role in (role for role in found.roles if role in ("weight", "label", "tie") or role.startswith("feature:")):
        if count.get(f"nan {role}"):
            kind = role.partition(":")[0]
            yield problem(f"nan_{kind}", role, "nan", "not be NaN or infinite; mend or drop those rows")
    if count.get("negative weight"):
        yield problem("negative_weight", "weight", "negative", "not be negative; mend or drop those rows")
    if count.get("other label"):
        rule = "be 0 or 1 for what was shown and null elsewhere; convert them, or read another column as label"
        yield problem("other_label", "label", "other", rule)


def _name(found: Measured, role: str) -> str:
    return f"{found.roles[role]} of {found.log}"


def _day(time_ms: int) -> str:
    try:
        return datetime.fromtimestamp(time_ms / 1000, tz=timezone.utc).date().isoformat()
    except (ValueError, OverflowError):
        return "unknown"
