"""MovieLens latest (small, full, or its first users): film ratings. Harper & Konstan, ACM TiiS 2015.

Reads ``ratings.csv`` and ``movies.csv`` of ``ml-latest`` and ``ml-latest-small``, or the normalised layout.
Terms: GroupLens licence; acknowledge the data set, redistribution under the same terms, no commercial use without permission.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from hpgr.data.history_rule import HistoryRule
from hpgr.data.log import EventLog
from hpgr.data.sessions import IdleGap
from hpgr.data.sources import SOURCES, Source
from hpgr.data.sources.layout import INTERACTIONS, ITEMS, Ties, csv_texts, found, is_normalised, parquet, tie_order

_HOME = "https://grouplens.org/datasets/movielens/latest/"


@SOURCES.register("movielens_latest")
def movielens_latest(folder: Path, ties: Ties = "set", draw: int = 1) -> Source:
    """Every rating is an event, whatever its stars; genres are categories.

    Most users rate all they ever rate in few days, so after a border in time most are new. ``ties`` and
    ``draw``: as of ``movielens_100k``.

    Raises: ConfigError if ``ties`` is another word.
    """
    if is_normalised(folder):
        ratings = parquet(folder, INTERACTIONS, _HOME).select("user_id", "item_id", "timestamp")
        films = parquet(folder, ITEMS, _HOME).select("item_id", "title", "categories").collect()
    else:
        rated, described = found(folder, ["ratings.csv", "movies.csv"], _HOME)
        ratings = csv_texts([rated], ["userId", "movieId", "timestamp"]).select(
            user_id=pl.col("userId").cast(pl.Int64),
            item_id=pl.col("movieId").cast(pl.Int64),
            timestamp=pl.col("timestamp").cast(pl.Int64),
        )
        films = (
            csv_texts([described], ["movieId", "title", "genres"])
            .select("title", item_id=pl.col("movieId").cast(pl.Int64), categories=pl.col("genres").str.split("|"))
            .select("item_id", "title", "categories")
            .collect()
        )
    rows, order = tie_order(ratings, ties, draw)
    return Source(
        log=EventLog.read(rows, time_unit="s", name=str(folder)),
        items=films,
        build={"sessions": IdleGap(), "ties": order, "history": HistoryRule()},
    )
