"""The definition of ``prefix_attention``, one query at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from hpgr.ops.prefix_attention.reading import PrefixReading
from hpgr.ops.weighing import Weighing


def prefix_attention_reference(reading: PrefixReading, weighing: Weighing) -> Tensor:
    """See ``prefix_attention``."""
    out = []
    queries, users = reading.query_offsets_B1.tolist(), reading.user_offsets_B1.tolist()
    for b in range(len(users) - 1):
        for n in range(queries[b], queries[b + 1]):
            seen = torch.arange(users[b], max(users[b], min(users[b + 1], int(reading.stop_N[n]))))
            q_HK = reading.q_NHK[n]
            scores_HJ = torch.einsum("hk,jhk->hj", q_HK, reading.k_THK[seen]) * weighing.scale
            if weighing.bias is not None and len(seen):
                scores_HJ = scores_HJ + weighing.bias.of(torch.full_like(seen, n), seen)
            own_HJ = torch.einsum("hk,jhk->hj", q_HK, reading.own_k_NJHK[n]) * weighing.scale
            if reading.own_bias_J is not None:
                own_HJ = own_HJ + reading.own_bias_J
            scores_HJ = torch.cat([scores_HJ, own_HJ], 1)
            if weighing.kind == "silu":
                weights_HJ = scores_HJ * scores_HJ.sigmoid() / weighing.divisor
            else:
                weights_HJ = scores_HJ.softmax(-1)
            out.append(torch.einsum("hj,jhv->hv", weights_HJ, torch.cat([reading.v_THK[seen], reading.own_v_NJHV[n]])))
    return torch.stack(out) if out else reading.v_THK.new_zeros((0, *reading.v_THK.shape[1:]))
