"""``nearest_positions`` by one product and one stable sort for every block of users of similar history length."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hpgr.ops.length_blocks import gathered, length_blocks, padded_index


@torch.no_grad()
def nearest_positions_vectorised(
    query_CD: Tensor, key_TD: Tensor, user_offsets_B1: Tensor, candidate_offsets_B1: Tensor, k: int, cosine: bool
) -> Tensor:
    """See ``nearest_positions``."""
    rows_CK = torch.full((query_CD.shape[0], k), -1, dtype=torch.int64, device=query_CD.device)
    query, key = query_CD.double(), key_TD.double()
    if cosine:
        query, key = F.normalize(query, dim=-1, eps=1e-12), F.normalize(key, dim=-1, eps=1e-12)
    for users_b in length_blocks(user_offsets_B1):
        index_bL, there_bL = padded_index(user_offsets_B1, users_b)
        cand_bC, asked_bC = padded_index(candidate_offsets_B1, users_b)
        scores_bCL = (gathered(query, cand_bC) @ gathered(key, index_bL).transpose(1, 2)).float()
        scores_bCL = scores_bCL.masked_fill(~there_bL[:, None, :], -torch.inf)
        # Newest first, so that a stable sort leaves the later event of a tie in front.
        best_bCL, at_bCL = scores_bCL.flip(-1).sort(dim=-1, descending=True, stable=True)
        width = min(k, index_bL.shape[1])
        at_bCK = index_bL.shape[1] - 1 - at_bCL[..., :width]
        found_bCK = (at_bCK + user_offsets_B1[users_b, None, None]).masked_fill(best_bCL[..., :width] == -torch.inf, -1)
        rows_CK[cand_bC[asked_bC], :width] = found_bCK[asked_bC]
    return rows_CK
