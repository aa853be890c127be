"""``nearest_positions`` by one rectangle of all candidates and all events: no shape depends on a value."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hpgr.core.jagged import row_of
from hpgr.ops.nearest_positions.grid import on_grid

_NOTHING = -(2**62)


@torch.no_grad()
def nearest_positions_fixed(
    query_CD: Tensor, key_TD: Tensor, user_offsets_B1: Tensor, candidate_offsets_B1: Tensor, k: int, cosine: bool
) -> Tensor:
    """See ``nearest_positions``."""
    num_events = key_TD.shape[0]
    query_CD, key_TD = (on_grid(x) if cosine else x.double() for x in (query_CD, key_TD))
    user_C, user_T = row_of(candidate_offsets_B1, query_CD.shape[0]), row_of(user_offsets_B1, num_events)
    score_CT, own_CT = (query_CD @ key_TD.T).float(), user_C[:, None] == user_T[None, :]
    # On the grid scores are whole numbers, below which there is room for the place.
    place_T = torch.arange(num_events, device=score_CT.device)
    order_CT = score_CT.long() * 2**32 + place_T if cosine else -_ahead(score_CT, place_T)
    best = order_CT.masked_fill(~own_CT, _NOTHING).topk(min(k, num_events), dim=1)
    rows_CK = best.indices.masked_fill(best.values == _NOTHING, -1)
    return F.pad(rows_CK, (0, k - rows_CK.shape[1]), value=-1)


def _ahead(score_CT: Tensor, place_T: Tensor) -> Tensor:
    """``[C, T]`` int64: how many events stand before each one; of a tie the later ones do."""
    mine_CT1, theirs_C1T = score_CT[:, :, None], score_CT[:, None, :]
    ties_CTT = (theirs_C1T == mine_CT1) & (place_T > place_T[:, None])
    return ((theirs_C1T > mine_CT1) | ties_CTT).sum(2)
