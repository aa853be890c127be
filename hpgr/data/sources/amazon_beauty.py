"""Amazon Beauty: reviews of 2002 to 2014, users and items with five or more. McAuley et al., SIGIR 2015.

Reads the normalised layout: the events of S3-Rec (Zhou et al., CIKM 2020) with the days of the reviews and, as ``position``,
their published order. Terms: for research; no redistribution.
"""

from __future__ import annotations

from pathlib import Path

from hpgr.data.history_rule import HistoryRule
from hpgr.data.log import EventLog
from hpgr.data.sessions import CalendarDay
from hpgr.data.sources import SOURCES, Source
from hpgr.data.sources.layout import INTERACTIONS, ITEMS, Ties, parquet, tie_order

_HOME = "https://cseweb.ucsd.edu/~jmcauley/datasets/amazon/links.html (as prepared by https://github.com/RUCAIBox/CIKM2020-S3Rec)"


@SOURCES.register("amazon_beauty")
def amazon_beauty(folder: Path, ties: Ties = "file", draw: int = 1) -> Source:
    """Every review is an event; a day is a session. More than half of all events share their day with another of the user.

    ``ties``: ``file`` keeps the published order inside a day; ``permuted`` shuffles it, by ``draw``, to tell what that order
    is worth; ``set`` asks with earlier days only.

    Raises: ConfigError if ``ties`` is another word.
    """
    events = parquet(folder, INTERACTIONS, _HOME).select("user_id", "item_id", "timestamp", "position")
    rows, order = tie_order(events.sort("user_id", "position", maintain_order=True), ties, draw)
    return Source(
        log=EventLog.read(rows, time_unit="s", name=str(folder)),
        items=parquet(folder, ITEMS, _HOME).select("item_id", "title", "categories").collect(),
        build={"sessions": CalendarDay(), "ties": order, "history": HistoryRule()},
    )
