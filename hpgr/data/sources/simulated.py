"""The embedded log generator as a data set: nothing is read, every cause is known."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from hpgr.core.errors import ConfigError
from hpgr.data.history_rule import HistoryRule
from hpgr.data.log import EventLog
from hpgr.data.sessions import GivenSessions
from hpgr.data.simulator import Simulator
from hpgr.data.sources import SOURCES, Source

_DEFAULT = Simulator.Config()
_MOST = 1_000_000


@SOURCES.register("simulated")
def simulated(
    folder: Path, config: Simulator.Config = _DEFAULT, min_events: int = 1, max_events: int = _MOST
) -> Source:
    """The log of ``config``, of users with ``min_events`` to ``max_events`` views and clicks; ``folder`` need not exist.

    Raises: ConfigError if ``max_events`` is below ``min_events`` or that below 1, or if no user is left.
    """
    if not 1 <= min_events <= max_events:
        raise ConfigError(f"min_events ({min_events}) must be at least 1 and at most max_events ({max_events})")
    simulator = config.build()
    events = (pl.col("label").is_null() | (pl.col("label") == 1)).sum().over("user_id")
    rows = pl.concat(frame.filter(events.is_between(min_events, max_events)) for frame in simulator.frames())
    if not len(rows):
        raise ConfigError(
            f"min_events ({min_events}) and max_events ({max_events}) must leave a user of the log; widen them"
        )
    return Source(
        log=EventLog.read(rows, time_unit="ms", name="simulated log"),
        items=simulator.items().select("item_id", "title", "categories"),
        build={"sessions": GivenSessions(), "ties": "set", "history": HistoryRule()},
    )
