"""``listed_attention`` by one gather of the listed keys and values and two batched products."""

from __future__ import annotations

import torch
from torch import Tensor

from hpgr.ops.length_blocks import gathered
from hpgr.ops.weighing import Weighing


def listed_attention_vectorised(
    q_NHK: Tensor, k_THK: Tensor, v_THK: Tensor, rows_NW: Tensor, gate_NW: Tensor, weighing: Weighing
) -> Tensor:
    """See ``listed_attention``."""
    if not k_THK.shape[0]:
        return v_THK.new_zeros((q_NHK.shape[0], *v_THK.shape[1:]))
    there_NW = rows_NW >= 0
    rows_NW = rows_NW.clamp(min=0)
    k_NHWK = gathered(k_THK, rows_NW).transpose(1, 2)
    v_NHWV = gathered(v_THK, rows_NW).transpose(1, 2)
    scores_NHW = (k_NHWK @ (q_NHK * weighing.scale)[..., None]).squeeze(-1)
    if weighing.bias is not None:
        query_N1 = torch.arange(rows_NW.shape[0], device=rows_NW.device)[:, None]
        scores_NHW = scores_NHW + weighing.bias.of(query_N1, rows_NW)[:, None]
    weights_NHW = weighing.weights(scores_NHW, there_NW[:, None], gate_NW[:, None])
    return (weights_NHW[:, :, None] @ v_NHWV).squeeze(2)
