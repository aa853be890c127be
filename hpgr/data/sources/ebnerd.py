"""EB-NeRD: reads of news and lists of shown articles, RecSys Challenge 2024. Kruse et al. 2024, arXiv:2410.03432.

Reads ``train`` and ``validation`` with ``history.parquet`` and ``behaviors.parquet``, and ``articles.parquet`` where it
is there; or the normalised layout with ``impressions.parquet``. Times are local in the files and taken as UTC.
Terms: for research, under the licence accepted at download; no redistribution, no attempt to identify readers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import polars as pl

from hpgr.core.errors import ConfigError
from hpgr.data.history_rule import HistoryRule
from hpgr.data.log import EventLog
from hpgr.data.sessions import IdleGap
from hpgr.data.sources import SOURCES, Source
from hpgr.data.sources.layout import INTERACTIONS, is_normalised, parquet

_HOME = "https://recsys.eb.dk/dataset/"
_SPLITS = ("train", "validation")
_KEY = ("user_id", "item_id", "timestamp")
View = Literal["reads", "impressions"]


@SOURCES.register("ebnerd")
def ebnerd(folder: Path, view: View = "reads") -> Source:
    """``reads``: a uniform log of the articles read. ``impressions``: the lists shown, and reads and clicks as history.

    Every list is kept, also one without a click. Reads end before the last logged week of a user; there the history
    holds clicks, each at the time that its list was shown. The articles' totals of views tell the future and stay out.

    Raises: ConfigError if ``view`` is neither.
    """
    if view not in get_args(View):
        raise ConfigError(f"view ({view}) must be {' or '.join(get_args(View))}")
    if view == "reads":
        events, rule = _reads(folder).select(_KEY), HistoryRule()
    else:
        events = pl.concat([_reads(folder), _clicks(folder), _shown(folder)], how="diagonal")
        rule = HistoryRule(events=("read", "click"), duplicates="drop")
    return Source(
        log=EventLog.read(events, time_unit="s", name=str(folder)),
        items=_articles(folder),
        build={"sessions": IdleGap(), "ties": "set", "history": rule},
    )


def _reads(folder: Path) -> pl.LazyFrame:
    if is_normalised(folder):
        return parquet(folder, INTERACTIONS, _HOME).filter(pl.col("event") == "read").select(*_KEY, "event")
    histories = pl.concat(parquet(folder, f"{split}/history.parquet", _HOME) for split in _SPLITS)
    reads = histories.select(
        pl.col("user_id").cast(pl.Int64), item_id="article_id_fixed", timestamp="impression_time_fixed"
    ).explode("item_id", "timestamp")
    # The second history repeats the fortnight that it shares with the first.
    return (
        reads.drop_nulls()
        .with_columns(pl.col("item_id").cast(pl.Int64), pl.col("timestamp").dt.epoch("s"), event=pl.lit("read"))
        .unique(_KEY, maintain_order=True)
    )


def _clicks(folder: Path) -> pl.LazyFrame:
    """Clicks of each user's last logged week; a history tells those before."""
    if is_normalised(folder):
        return parquet(folder, INTERACTIONS, _HOME).filter(pl.col("event") == "click").select(*_KEY, "event")
    is_later = pl.col("split") == "validation"
    last_week = _lists(folder).filter(is_later | ~is_later.any().over("user_id"))
    clicks = last_week.select("user_id", "timestamp", item_id="clicked").explode("item_id").drop_nulls()
    return clicks.select(*_KEY, event=pl.lit("click"))


def _shown(folder: Path) -> pl.LazyFrame:
    """A row for each article of each list, with ``label`` and ``request_id``."""
    rows = _lists(folder).with_columns(item_id="inview").explode("item_id").drop_nulls("item_id")
    label = pl.col("clicked").list.contains(pl.col("item_id")).fill_null(False).cast(pl.Int8)
    return rows.select(*_KEY, "request_id", event=pl.lit("shown"), label=label)


def _lists(folder: Path) -> pl.LazyFrame:
    if is_normalised(folder):
        lists = parquet(folder, "impressions.parquet", _HOME).rename({"impression_id": "request_id"})
    else:
        lists = pl.concat(
            parquet(folder, f"{split}/behaviors.parquet", _HOME).select(
                "user_id",
                request_id="impression_id",
                timestamp=pl.col("impression_time").dt.epoch("s"),
                inview="article_ids_inview",
                clicked="article_ids_clicked",
                split=pl.lit(split),
            )
            for split in _SPLITS
        )
    return lists.select(
        pl.col("user_id", "request_id").cast(pl.Int64),
        "timestamp",
        pl.col("inview", "clicked").cast(pl.List(pl.Int64)),
        "split",
    )


def _articles(folder: Path) -> pl.DataFrame | None:
    """Title and section of each article; None where no file tells them."""
    if not (folder / "articles.parquet").is_file():
        return None
    return (
        pl.scan_parquet(folder / "articles.parquet")
        .select(
            pl.col("article_id").cast(pl.Int64).alias("item_id"),
            "title",
            pl.concat_list("category_str").list.drop_nulls().alias("categories"),
        )
        .collect()
    )
