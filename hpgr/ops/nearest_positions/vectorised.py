"""``nearest_positions`` by products of blocks, groups of neighbours first, then the events of the best groups."""

from __future__ import annotations

from torch import Tensor

from hpgr.ops.nearest_positions.grid import on_grid
from hpgr.ops.nearest_positions.highest import highest_rows


def nearest_positions_vectorised(
    query_CD: Tensor, key_TD: Tensor, user_offsets_B1: Tensor, candidate_offsets_B1: Tensor, k: int, cosine: bool
) -> Tensor:
    """See ``nearest_positions``."""
    query, key = (on_grid(x) if cosine else x.double() for x in (query_CD, key_TD))
    return highest_rows(query, key, user_offsets_B1, candidate_offsets_B1, k)
