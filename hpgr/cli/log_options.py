"""The options of commands that read a log: the names of its columns, and how it becomes a history in sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from hpgr.core.errors import ConfigError, DataError
from hpgr.core.units import seconds

if TYPE_CHECKING:
    from hpgr.data.history_rule import HistoryRule
    from hpgr.data.log import TimeUnit
    from hpgr.data.sessions import SessionRule

Log = Annotated[str, typer.Argument(metavar="LOG", help="Parquet, CSV or Arrow file, or a folder of Parquet files.")]
UserColumn = Annotated[str, typer.Option("--user-column", metavar="NAME", help="Column of user ids.")]
ItemColumn = Annotated[str, typer.Option("--item-column", metavar="NAME", help="Column of item ids.")]
TimeColumn = Annotated[str, typer.Option("--time-column", metavar="NAME", help="Column of times, UTC.")]
EventColumn = Annotated[str, typer.Option("--event-column", metavar="NAME", help="Column of kinds of action.")]
WeightColumn = Annotated[str, typer.Option("--weight-column", metavar="NAME", help="Column of weights.")]
SessionColumn = Annotated[str, typer.Option("--session-column", metavar="NAME", help="Column of the log's sessions.")]
LabelColumn = Annotated[str, typer.Option("--label-column", metavar="NAME", help="Column of 0 or 1 for items shown.")]
RequestColumn = Annotated[str, typer.Option("--request-column", metavar="NAME", help="Column of lists shown together.")]
Features = Annotated[list[str], typer.Option("--feature", metavar="NAME", help="A further numeric column; repeatable.")]
Unit = Annotated[
    str | None,
    typer.Option("--time-unit", metavar="s|ms|us|order", help="Of integer times; inferred and said where left out."),
]
SessionGap = Annotated[
    str, typer.Option("--session-gap", metavar="GAP", help="Where a session ends: 30m, 1h, given, day or day+2h.")
]
Ties = Annotated[
    str, typer.Option("--ties", metavar="POLICY", help="Order of simultaneous events: file, set or column:NAME.")
]
History = Annotated[
    str, typer.Option("--history", metavar="positive|all", help="Of the items shown, those that enter the history.")
]
HistoryEvents = Annotated[
    str | None, typer.Option("--history-events", metavar="A,B", help="Kinds of action that enter the history.")
]
Duplicates = Annotated[
    str, typer.Option("--duplicates", metavar="keep|drop", help="Rows with equal user, item, time and event.")
]


def session_rule_of(text: str) -> SessionRule:
    """The rule of ``--session-gap``.

    Raises: ConfigError for a text that is no rule; DataError for a gap of 0, which is well written but would make
    every event a session.
    """
    from hpgr.data.sessions import session_rule

    is_gap = text != "given" and not text.startswith("day")
    is_zero = is_gap and seconds(text) == 0
    try:
        return session_rule(text)
    except ConfigError as error:
        if is_zero:
            raise DataError(str(error)) from None
        raise


def history_rule_of(labels: str, events: str | None, duplicates: str) -> HistoryRule:
    """Raises: ConfigError for a choice that there is not."""
    from hpgr.data.history_rule import HistoryRule

    return HistoryRule(
        labels=cast(Literal["positive", "all"], labels),
        events=None if events is None else tuple(name.strip() for name in events.split(",") if name.strip()),
        duplicates=cast(Literal["keep", "drop"], duplicates),
    )


def unit_of(text: str | None) -> TimeUnit | None:
    """Raises: ConfigError unless it is a unit of time."""
    if text not in (None, "s", "ms", "us", "order"):
        raise ConfigError(f"time-unit ({text}) must be s, ms or us, or order where a log has no times")
    return cast("TimeUnit | None", text)
