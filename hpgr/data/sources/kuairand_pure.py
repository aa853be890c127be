"""KuaiRand-Pure: short videos that were shown, with what users did. Gao et al., CIKM 2022, arXiv:2208.08696.

Reads ``log_standard_*_pure.csv`` and ``video_features_basic_pure.csv`` of ``KuaiRand-Pure/data``, or the normalised
layout. The random-exposure log is another experiment and not read. Terms: CC BY-SA 4.0.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from hpgr.data.history_rule import HistoryRule
from hpgr.data.log import EventLog
from hpgr.data.sessions import IdleGap
from hpgr.data.sources import SOURCES, Source
from hpgr.data.sources.layout import INTERACTIONS, ITEMS, csv_texts, found, is_normalised, parquet

_HOME = "https://kuairand.com"


@SOURCES.register("kuairand_pure")
def kuairand_pure(folder: Path) -> Source:
    """Every row is an exposure, labelled by ``is_click``; all enter the history, clicked or not, each under its action.

    Some rows are logged twice: they are two exposures and one event of the history. Of the videos only what was known
    at upload is given; the statistics of the set are averages over the month, so they tell an exposure's future.
    """
    if is_normalised(folder):
        shown = parquet(folder, INTERACTIONS, _HOME)
        item, time = "item_id", "timestamp_ms"
        videos = parquet(folder, ITEMS, _HOME)
        tags = pl.col("categories")
    else:
        item, time = "video_id", "time_ms"
        logs = found(folder, ["log_standard_*_pure.csv"], _HOME)
        shown = csv_texts(logs, ["user_id", item, time, "is_click"]).cast(pl.Int64)
        features = found(folder, ["video_features_basic_pure.csv"], _HOME)
        videos = csv_texts(features, [item, "author_id", "video_duration", "tag"])
        tags = pl.col("tag").str.split(",")
    shown = shown.select("user_id", pl.col(item).alias("item_id"), timestamp=time, label="is_click")
    known = tags.list.eval(pl.element().filter(pl.element().str.to_lowercase() != "unknown"))
    items = videos.select(
        pl.col(item).cast(pl.Int64).alias("item_id"),
        known.alias("categories"),
        pl.col("author_id").cast(pl.Int64),
        pl.col("video_duration").cast(pl.Float64).cast(pl.Int64).alias("duration_ms"),
    )
    return Source(
        log=EventLog.read(shown, time_unit="ms", name=str(folder)),
        items=items.collect(),
        build={"sessions": IdleGap(), "ties": "set", "history": HistoryRule(labels="all", duplicates="drop")},
    )
