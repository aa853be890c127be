"""MovieLens 100K: film ratings. Harper & Konstan, ACM TiiS 2015.

Reads ``u.data`` and ``u.item`` of ``ml-100k``, or the normalised layout.
Terms: GroupLens research licence; acknowledge the data set, no redistribution and no commercial use without permission.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from hpgr.data.history_rule import HistoryRule
from hpgr.data.log import EventLog
from hpgr.data.sessions import IdleGap
from hpgr.data.sources import SOURCES, Source
from hpgr.data.sources.layout import INTERACTIONS, ITEMS, Ties, found, is_normalised, parquet, tie_order

_HOME = "https://grouplens.org/datasets/movielens/100k/"
# The last columns of u.item, in its order.
# fmt: off
_GENRES = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)
# fmt: on


@SOURCES.register("movielens_100k")
def movielens_100k(folder: Path, ties: Ties = "set", draw: int = 1) -> Source:
    """Every rating is an event, whatever its stars; genres are categories.

    Three of four events share their second with another of the same user: the order in the file is not that of rating.
    ``ties``: ``set`` asks with earlier seconds only; ``file`` keeps the file's order, as published protocols with a stable
    sort do; ``permuted`` shuffles it, by ``draw``, to tell what that order is worth.

    Raises: ConfigError if ``ties`` is another word.
    """
    if is_normalised(folder):
        ratings = parquet(folder, INTERACTIONS, _HOME).select("user_id", "item_id", "timestamp")
        films = parquet(folder, ITEMS, _HOME).select("item_id", "title", "categories").collect()
    else:
        data, item = found(folder, ["u.data", "u.item"], _HOME)
        ratings = pl.scan_csv(
            data, separator="\t", has_header=False, new_columns=["user_id", "item_id", "rating", "timestamp"]
        ).select("user_id", "item_id", "timestamp")
        films = _films(item)
    rows, order = tie_order(ratings, ties, draw)
    return Source(
        log=EventLog.read(rows, time_unit="s", name=str(folder)),
        items=films,
        build={"sessions": IdleGap(), "ties": order, "history": HistoryRule()},
    )


def _films(path: Path) -> pl.DataFrame:
    names = ["item_id", "title", "release_date", "video_date", "url", *_GENRES]
    table = pl.read_csv(
        path, separator="|", has_header=False, new_columns=names, quote_char=None, encoding="latin1", infer_schema=False
    )
    genres = [pl.when(pl.col(name) == "1").then(pl.lit(name)) for name in _GENRES]
    return table.select(pl.col("item_id").cast(pl.Int64), "title", categories=pl.concat_list(genres).list.drop_nulls())
