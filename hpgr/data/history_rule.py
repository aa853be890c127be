"""Which rows of a log enter the history, and under which action."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import polars as pl

from hpgr.core.errors import ConfigError, DataError, UnknownNameError
from hpgr.data.log import EventLog

_MAX_ACTIONS = 32_766


@dataclass(frozen=True, kw_only=True, slots=True)
class HistoryRule:
    """A row is history if its event is one of ``events`` (None: any) and it was not merely shown.

    A row with a label was shown to the user: it is history if the label is 1, or ``labels`` is ``all``. Of rows with
    the same user, item, time and event, ``duplicates`` keeps all or only the first.
    """

    labels: Literal["positive", "all"] = "positive"
    events: tuple[str, ...] | None = None
    duplicates: Literal["keep", "drop"] = "keep"

    def __post_init__(self) -> None:
        if self.labels not in ("positive", "all"):
            raise ConfigError(f"history labels ({self.labels}) must be positive or all")
        if self.duplicates not in ("keep", "drop"):
            raise ConfigError(f"duplicates ({self.duplicates}) must be keep or drop")
        if self.events is not None and not self.events:
            raise ConfigError("history events () must name at least one event; None takes every event")
        if self.events is not None and len(set(self.events)) < len(self.events):
            raise ConfigError(f"history events ({', '.join(self.events)}) must not repeat")

    def rows(self, log: EventLog) -> pl.LazyFrame:
        """The log's events with ``is_history`` and ``action_name``; rows neither history nor shown are left out.

        Raises: DataError if ``events`` are asked for and the log has none.
        """
        events = log.events()
        rule, name = pl.lit(True), pl.lit(None, dtype=pl.String)
        if self.events is not None:
            if "event" not in log.roles:
                raise DataError(
                    f"column event of {log.name} (absent) must be present to choose history events "
                    f"{', '.join(self.events)}; name it with Columns(event=...), or leave the choice out"
                )
            rule = pl.col("event").is_in(list(self.events)).fill_null(False)
        if "event" in log.roles:
            name = pl.col("event")
        if "label" not in log.roles:
            return events.with_columns(is_history=rule, action_name=name).filter("is_history")
        shown = pl.col("label").is_not_null()
        if self.labels == "all":
            label = pl.when(pl.col("label") > 0).then(pl.lit("label=1")).otherwise(pl.lit("label=0"))
            name = pl.when(shown).then(label).otherwise(name)
        else:
            rule = rule & (pl.col("label").is_null() | (pl.col("label") > 0))
        return events.with_columns(is_history=rule, action_name=name).filter(pl.col("is_history") | shown)

    def check_kinds(self, log: EventLog) -> None:
        """Raises: UnknownNameError for one of ``events`` that the log never has."""
        if self.events is None or "event" not in log.roles:
            return
        known = (
            log.events().select(pl.col("event").drop_nulls().unique()).collect(engine="streaming")["event"].to_list()
        )
        for name in self.events:
            if name not in known:
                raise UnknownNameError.of(f"kind of events in {log.name}", name, known)


DEFAULT_HISTORY = HistoryRule()


def actions_of(rows: pl.LazyFrame, log: EventLog) -> list[str]:
    """The names of the actions in the history of ``rows``, sorted.

    Raises: DataError if there are more than a store can hold.
    """
    names = rows.filter("is_history").select(pl.col("action_name").unique()).collect(engine="streaming").to_series()
    actions = names.drop_nulls().sort().to_list()
    if len(actions) > _MAX_ACTIONS:
        column = log.columns.event
        raise DataError(f"{column} of {log.name} ({len(actions)} kinds) must have at most {_MAX_ACTIONS}; group them")
    return actions
