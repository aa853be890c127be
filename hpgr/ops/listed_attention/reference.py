"""The definition of ``listed_attention``, one query at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from hpgr.ops.weighing import Weighing


def listed_attention_reference(
    q_NHK: Tensor, k_THK: Tensor, v_THK: Tensor, rows_NW: Tensor, gate_NW: Tensor, weighing: Weighing
) -> Tensor:
    """See ``listed_attention``."""
    out = []
    for n, listed in enumerate(rows_NW.tolist()):
        at = [w for w, row in enumerate(listed) if row >= 0]
        if weighing.kind == "softmax":
            at = [w for w in at if gate_NW[n, w] > 0]
        rows, gate_J = rows_NW[n, at], gate_NW[n, at]
        scores_HJ = torch.einsum("hk,jhk->hj", q_NHK[n], k_THK[rows]) * weighing.scale
        if weighing.bias is not None:
            scores_HJ = scores_HJ + weighing.bias.of(torch.full_like(rows, n), rows)
        if weighing.kind == "silu":
            weights_HJ = scores_HJ * scores_HJ.sigmoid() / weighing.divisor * gate_J
        else:
            weights_HJ = (scores_HJ + gate_J.log()).softmax(-1)
        out.append(torch.einsum("hj,jhv->hv", weights_HJ, v_THK[rows]))
    return torch.stack(out) if out else v_THK.new_zeros((0, *v_THK.shape[1:]))
