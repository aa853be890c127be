"""Causal softmax ``attention`` without bias by torch's own fused kernel, over rows of similar length."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hpgr.core.errors import UnsupportedError
from hpgr.ops.attention.mask_rule import MaskRule
from hpgr.ops.attention.row_groups import row_groups
from hpgr.ops.weighing import Kind, PairBias, Weighing

# Events of a group: enough work for a call, little enough to stay in a cache.
_EVENTS = 1 << 12


def attention_fused(
    q_THK: Tensor, k_THK: Tensor, v_THK: Tensor, offsets_B1: Tensor, rule: MaskRule, weighing: Weighing
) -> Tensor:
    """See ``attention``.

    Raises: UnsupportedError for weights, a rule or a bias that the kernel does not know.
    """
    if not can_fuse(weighing.kind, rule, weighing.bias):
        raise UnsupportedError("impl (fused) must be asked for causal softmax without window, groups, times or bias")
    parts, places = [], []
    for group in row_groups(offsets_B1, numbers=_EVENTS):
        # What follows a row's end is later than all of the row, so nothing of it is read.
        q, k, v = (x[group.index_bL].transpose(1, 2) for x in (q_THK, k_THK, v_THK))
        read_bHLV = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=weighing.scale)
        parts.append(read_bHLV.transpose(1, 2)[group.there_bL])
        places.append(group.index_bL[group.there_bL])
    if not parts:
        return torch.zeros_like(v_THK)
    return torch.zeros_like(v_THK).index_copy(0, torch.cat(places), torch.cat(parts))


def can_fuse(kind: Kind, rule: MaskRule, bias: PairBias | None) -> bool:
    """Whether the kernel computes these weights."""
    plain = rule.causal and rule.window is None and rule.group_T is None and rule.time_T is None
    return kind == "softmax" and plain and bias is None
