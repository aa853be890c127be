"""Cross-entropy over the whole catalogue, in bounded memory."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def softmax_loss(states_ND: Tensor, target_N: Tensor, table_VD: Tensor, *, chunk: int = 4096) -> Tensor:
    """Mean of ``-log softmax(states @ table.T)[target]`` in nats; 0 where there is nothing to predict.

    Logits of more than ``chunk`` rows never stand in memory together: each chunk is computed again for the gradient.
    """
    count = states_ND.shape[0]
    if count == 0:
        return (states_ND.sum() + 0.0 * table_VD.sum()) * 0.0
    if count <= chunk:
        return _cost(states_ND, target_N, table_VD) / count
    total = states_ND.new_zeros(())
    for start in range(0, count, chunk):
        part = slice(start, start + chunk)
        total = total + checkpoint(_cost, states_ND[part], target_N[part], table_VD, use_reentrant=False)
    return total / count


def _cost(states_ND: Tensor, target_N: Tensor, table_VD: Tensor) -> Tensor:
    logits_NV = states_ND @ table_VD.T
    return F.cross_entropy(
        logits_NV.float() if logits_NV.dtype == torch.bfloat16 else logits_NV, target_N, reduction="sum"
    )
