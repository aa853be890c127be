"""trivago: hotel search sessions with the lists that were shown, RecSys Challenge 2019. Knees et al., RecSys 2019.

Only the normalised layout is read: a sample of the validation days, two in all. Hotels are anonymous numbers.
Terms: for research; no redistribution.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from hpgr.data.history_rule import HistoryRule
from hpgr.data.log import EventLog
from hpgr.data.sessions import GivenSessions
from hpgr.data.sources import SOURCES, Source
from hpgr.data.sources.layout import INTERACTIONS, parquet

_HOME = "https://recsys.trivago.cloud/challenge/dataset/"
_CLICK = "clickout item"
_ACTS = (
    _CLICK,
    "interaction item deals",
    "interaction item image",
    "interaction item info",
    "interaction item rating",
    "search for item",
)


@SOURCES.register("trivago_100k")
def trivago_100k(folder: Path) -> Source:
    """What users did with hotels is history; the list of each click-out is what was shown, the hotel clicked labelled 1.

    A list is the page of 25 hotels at most on which the click fell. Pages without a click and the hotels of other pages are
    not logged, so every list has one click; lists that lack the hotel clicked, or hold nothing else, are left out. Three
    of four events share their second with another of the user (an opened gallery logs each picture: the history has it
    once a second), and a list is asked with earlier seconds only: neither its click-out nor what was logged at once with it
    is known. The place in the list had a part in the click and stays out; so do the prices shown, since exposures have no
    columns of their own, and the totals of the hotels, which are of the whole log and tell the future.
    """
    steps = parquet(folder, INTERACTIONS, _HOME)
    rows = pl.concat([_acts(steps), _shown(steps)], how="diagonal")
    return Source(
        log=EventLog.read(rows, time_unit="s", name=str(folder)),
        items=None,
        build={"sessions": GivenSessions(), "ties": "set", "history": HistoryRule(events=_ACTS, duplicates="drop")},
    )


def _acts(steps: pl.LazyFrame) -> pl.LazyFrame:
    known = pl.col("event").is_in(_ACTS) & pl.col("item_id").is_not_null()
    return steps.filter(known).select("user_id", "item_id", "timestamp", "session_id", "event")


def _shown(steps: pl.LazyFrame) -> pl.LazyFrame:
    """A row for each hotel of each list, with ``label`` and ``request_id``."""
    shown = pl.col("impressions")
    asks = shown.list.contains(pl.col("item_id")) & (shown.list.len() > 1)
    lists = steps.filter((pl.col("event") == _CLICK) & asks)
    return (
        lists.with_columns(clicked="item_id", item_id="impressions")
        .explode("item_id")
        .select(
            "user_id",
            "item_id",
            "timestamp",
            "session_id",
            event=pl.lit("shown"),
            label=(pl.col("item_id") == pl.col("clicked")).cast(pl.Int8),
            request_id=pl.format("{}/{}", "session_id", "step"),
        )
    )
