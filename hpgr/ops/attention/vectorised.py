"""``attention`` by batched products over rows of similar length, padded inside a block."""

from __future__ import annotations

import torch
from torch import Tensor

from hpgr.ops.attention.mask_rule import MaskRule
from hpgr.ops.length_blocks import gathered, length_blocks, padded_index
from hpgr.ops.weighing import Weighing


def attention_vectorised(
    q_THK: Tensor, k_THK: Tensor, v_THK: Tensor, offsets_B1: Tensor, rule: MaskRule, weighing: Weighing
) -> Tensor:
    """See ``attention``."""
    parts, places = [], []
    for rows_b in length_blocks(offsets_B1):
        index_bL, there_bL = padded_index(offsets_B1, rows_b)
        q, k, v = (gathered(x, index_bL).transpose(1, 2) for x in (q_THK, k_THK, v_THK))
        query, key = index_bL[:, :, None], index_bL[:, None, :]
        scores_bHLL = (q * weighing.scale) @ k.transpose(-1, -2)
        if weighing.bias is not None:
            scores_bHLL = scores_bHLL + weighing.bias.of(query, key)[:, None]
        visible_bLL = rule.visible(query, key) & there_bL[:, None, :]
        scores_bHLL = weighing.in_context(q, scores_bHLL, visible_bLL[:, None])
        read_bHLV = weighing.weights(scores_bHLL, visible_bLL[:, None]) @ v
        parts.append(read_bHLV.transpose(1, 2)[there_bL])
        places.append(index_bL[there_bL])
    if not parts:
        return torch.zeros_like(v_THK)
    return torch.zeros_like(v_THK).index_copy(0, torch.cat(places), torch.cat(parts))
