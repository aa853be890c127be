"""The definition of ``attention``, one query at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from hpgr.ops.attention.mask_rule import MaskRule
from hpgr.ops.weighing import Weighing


def attention_reference(
    q_THK: Tensor, k_THK: Tensor, v_THK: Tensor, offsets_B1: Tensor, rule: MaskRule, weighing: Weighing
) -> Tensor:
    """See ``attention``."""
    out = []
    for start, stop in zip(offsets_B1[:-1].tolist(), offsets_B1[1:].tolist()):
        for i in range(start, stop):
            seen = torch.tensor([j for j in range(start, stop) if _sees(rule, i, j)], dtype=torch.int64)
            scores_HJ = torch.einsum("hk,jhk->hj", q_THK[i], k_THK[seen]) * weighing.scale
            if weighing.bias is not None:
                scores_HJ = scores_HJ + weighing.bias.of(torch.full_like(seen, i), seen)
            seen_1J = torch.ones_like(seen, dtype=torch.bool)[None]
            scores_HJ = weighing.in_context(q_THK[i][:, None], scores_HJ[:, None], seen_1J).squeeze(1)
            if weighing.kind == "silu":
                weights_HJ = scores_HJ * scores_HJ.sigmoid() / weighing.divisor
            else:
                weights_HJ = scores_HJ.softmax(-1)
            out.append(torch.einsum("hj,jhv->hv", weights_HJ, v_THK[seen]))
    return torch.stack(out) if out else torch.zeros_like(v_THK)


def _sees(rule: MaskRule, i: int, j: int) -> bool:
    if rule.causal and j > i:
        return False
    if rule.window is not None and abs(i - j) >= rule.window:
        return False
    if rule.group_T is not None and rule.group_T[i] != rule.group_T[j]:
        return False
    return rule.time_T is None or i == j or bool(rule.time_T[j] < rule.time_T[i])
