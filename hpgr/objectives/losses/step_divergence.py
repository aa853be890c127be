"""How unlike the predictions of the steps are that thought about one event."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

# Scores that stand in memory together; more are computed again for the gradient.
_TOGETHER = 2**22


def step_divergence(states_NSD: Tensor, table_VD: Tensor, *, bias_V: Tensor | None = None) -> Tensor:
    """Mean over predictions and ordered pairs of steps ``i ≠ j`` of ``KL(p_j ‖ p_i)`` in nats, ``p_i`` held; 0 where there is none.

    ``p = softmax(states @ table.T + bias)``. Source: Tang et al., 2025, arXiv:2503.22675, as released.
    """
    count, steps = states_NSD.shape[:2]
    if not count or steps < 2:
        return (states_NSD.sum() + 0.0 * table_VD.sum()) * 0.0

    def summed(part_nSD: Tensor, table_VD: Tensor) -> Tensor:
        logits_nSV = (part_nSD @ table_VD.T).float()
        log_p = (logits_nSV if bias_V is None else logits_nSV + bias_V).log_softmax(-1)
        p = log_p.exp()
        own_nS = (p * log_p).sum(-1)
        cross_nSS = torch.einsum("njv,niv->nji", p, log_p.detach())
        # On the diagonal a step is held against itself: exactly the two sums cancel.
        return steps * own_nS.sum() - cross_nSS.sum() - (own_nS.sum() - cross_nSS.diagonal(dim1=1, dim2=2).sum())

    step = max(1, _TOGETHER // (steps * table_VD.shape[0]))
    parts = [
        summed(part, table_VD) if count <= step else checkpoint(summed, part, table_VD, use_reentrant=False)
        for part in states_NSD.split(step)
    ]
    return torch.stack(parts).sum() / (count * steps * (steps - 1))
