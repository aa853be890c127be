"""``attention`` by one square of all events: no shape depends on a value, so that it can be traced and exported."""

from __future__ import annotations

import torch
from torch import Tensor

from hpgr.core.jagged import row_of
from hpgr.ops.attention.mask_rule import MaskRule
from hpgr.ops.weighing import Weighing


def attention_fixed(
    q_THK: Tensor, k_THK: Tensor, v_THK: Tensor, offsets_B1: Tensor, rule: MaskRule, weighing: Weighing
) -> Tensor:
    """See ``attention``. Cost grows with the square of all rows together: for batches of a row or two."""
    event_T = torch.arange(q_THK.shape[0], device=q_THK.device)
    query, key, row_T = event_T[:, None], event_T[None, :], row_of(offsets_B1, q_THK.shape[0])
    q_HTK = q_THK.transpose(0, 1)
    scores_HTT = (q_HTK * weighing.scale) @ k_THK.permute(1, 2, 0)
    if weighing.bias is not None:
        scores_HTT = scores_HTT + weighing.bias.of(query, key)
    visible_TT = rule.visible(query, key) & (row_T[:, None] == row_T[None, :])
    scores_HTT = weighing.in_context(q_HTK, scores_HTT, visible_TT)
    return (weighing.weights(scores_HTT, visible_TT) @ v_THK.transpose(0, 1)).transpose(0, 1)
