"""UCI Online Retail: dated invoices of a British gift shop. Chen 2015, https://doi.org/10.24432/C5BW33.

Reads every ``*.csv`` of the folder: the official sheet saved as CSV, whole or cut by day, or the normalised layout.
Times are those of London. Terms: CC BY 4.0.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from hpgr.data.history_rule import HistoryRule
from hpgr.data.log import EventLog
from hpgr.data.sessions import GivenSessions
from hpgr.data.sources import SOURCES, Source
from hpgr.data.sources.layout import INTERACTIONS, ITEMS, csv_texts, found, is_normalised, parquet

_HOME = "https://archive.ics.uci.edu/dataset/352/online+retail"
_COLUMNS = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "CustomerID")
_TIME_FORMATS = ("%Y-%m-%d %H:%M:%S", "%m/%d/%Y %H:%M")
# Codes of postage, charges and manual entries do not begin with a number of five digits.
_PRODUCT = r"^\d{5}"


@SOURCES.register("online_retail")
def online_retail(folder: Path) -> Source:
    """What known customers bought, without cancellations, postage and charges; an invoice is a session.

    A product on two lines of one invoice enters the history once.
    """
    if is_normalised(folder):
        lines = parquet(folder, INTERACTIONS, _HOME).filter(pl.col("is_product") & (pl.col("event") == "purchase"))
        lines = lines.select("user_id", "item_id", "timestamp", "session_id")
        products = parquet(folder, ITEMS, _HOME).filter("is_product").select("item_id", "title").collect()
    else:
        bought = _bought(csv_texts(found(folder, ["*.csv"], _HOME), _COLUMNS))
        lines, products = bought.drop("title"), _products(bought)
    return Source(
        log=EventLog.read(lines, time_unit="s", name=str(folder)),
        items=products,
        build={"sessions": GivenSessions(), "ties": "set", "history": HistoryRule(duplicates="drop")},
    )


def _bought(sheet: pl.LazyFrame) -> pl.LazyFrame:
    local = pl.coalesce(pl.col("InvoiceDate").str.to_datetime(form, strict=False) for form in _TIME_FORMATS)
    bought = (pl.col("Quantity").cast(pl.Int64) > 0) & ~pl.col("InvoiceNo").str.starts_with("C")
    return sheet.filter(
        bought & pl.col("CustomerID").is_not_null() & pl.col("StockCode").str.contains(_PRODUCT)
    ).select(
        # A spreadsheet writes the integer 17850 as 17850.0 where other rows are empty.
        pl.col("CustomerID").cast(pl.Float64).cast(pl.Int64).alias("user_id"),
        pl.col("StockCode").alias("item_id"),
        local.dt.replace_time_zone("Europe/London", ambiguous="earliest").dt.epoch("s").alias("timestamp"),
        pl.col("InvoiceNo").alias("session_id"),
        pl.col("Description").str.strip_chars().alias("title"),
    )


def _products(bought: pl.LazyFrame) -> pl.DataFrame:
    """Each product under its most frequent name."""
    names = bought.group_by("item_id", "title").len().sort("len", "title", descending=[True, False])
    return names.group_by("item_id").agg(pl.col("title").first()).sort("item_id").collect()
