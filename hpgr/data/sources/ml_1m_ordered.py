"""MovieLens 1M in the order that SASRec published, without times. Kang & McAuley, ICDM 2018; Harper & Konstan, TiiS 2015.

Reads ``ml-1m.txt`` of ``kang205/SASRec`` (a line ``user item`` each, in the order of a user's ratings), or the normalised
layout with ``position`` in place of times. The file's ids are numbers of its own. Films with fewer than five ratings are absent.
Terms: GroupLens research licence; acknowledge the data set, no redistribution and no commercial use without permission.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from hpgr.data.sources import SOURCES, Source
from hpgr.data.sources.layout import INTERACTIONS, ITEMS, found, is_normalised, of_order, pair_lines, parquet

_HOME = "https://github.com/kang205/SASRec/tree/master/data (films: https://grouplens.org/datasets/movielens/1m/)"


@SOURCES.register("ml_1m_ordered")
def ml_1m_ordered(folder: Path) -> Source:
    """Every rating is an event, whatever its stars; genres are categories where the films are known.

    How ties of the original times were broken in this order is unknown.
    """
    if not is_normalised(folder):
        return of_order(pair_lines(found(folder, ["ml-1m.txt*"], _HOME)[0]), name=str(folder))
    films = parquet(folder, ITEMS, _HOME).select("item_id", "title", "categories").collect()
    ratings = parquet(folder, INTERACTIONS, _HOME).select("user_id", "item_id", "position")
    return of_order(ratings.cast({"position": pl.Int64}), name=str(folder), items=films)
