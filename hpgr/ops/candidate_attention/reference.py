"""The definition of ``candidate_attention``, one candidate at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from hpgr.ops.candidate_attention.reading import Reading
from hpgr.ops.weighing import Weighing


def candidate_attention_reference(reading: Reading, weighing: Weighing) -> Tensor:
    """See ``candidate_attention``."""
    out = []
    users = zip(reading.user_offsets_B1[:-1].tolist(), reading.user_offsets_B1[1:].tolist())
    asked = zip(reading.candidate_offsets_B1[:-1].tolist(), reading.candidate_offsets_B1[1:].tolist())
    for (start, stop), (first, last) in zip(users, asked):
        for c in range(first, last):
            out.append(_read(reading, weighing, c, [t for t in range(start, stop) if _earlier(reading, c, t)]))
    return torch.stack(out) if out else torch.zeros_like(reading.own_v_CHK)


def _earlier(reading: Reading, c: int, t: int) -> bool:
    if reading.key_time_T is None or reading.query_time_C is None:
        return True
    return bool(reading.key_time_T[t] < reading.query_time_C[c])


def _read(reading: Reading, weighing: Weighing, c: int, seen: list[int]) -> Tensor:
    """``[H, V]`` of one candidate: a gate for each event that it sees, then its own column with gate 1."""
    gates_H: list[Tensor] = []
    one_H = torch.ones_like(reading.q_CHK[c, :, 0])
    for t in seen:
        if reading.listed is not None:
            gates_H.append(one_H * _gate(*reading.listed, c, t))
        elif reading.boost is not None:
            rows_CW, gate_CW, beta_H = reading.boost
            gates_H.append(1 + beta_H * _gate(rows_CW, gate_CW, c, t))
        else:
            gates_H.append(one_H)
    gate_HJ = torch.stack([*gates_H, one_H], 1)
    k_JHK = torch.cat([reading.k_THK[seen], reading.own_k_CHK[c : c + 1]])
    v_JHV = torch.cat([reading.v_THK[seen], reading.own_v_CHK[c : c + 1]])
    scores_HJ = torch.einsum("hk,jhk->hj", reading.q_CHK[c], k_JHK) * weighing.scale
    if weighing.bias is not None:
        rows, query = reading.user_offsets_B1.new_tensor(seen), reading.user_offsets_B1.new_tensor([c])
        scores_HJ = scores_HJ + torch.cat([weighing.bias.of(query.expand_as(rows), rows), weighing.bias.own(query)])
    visible_HJ = gate_HJ > 0 if reading.listed is not None else torch.ones_like(gate_HJ, dtype=torch.bool)
    scores_HJ = weighing.in_context(reading.q_CHK[c][:, None], scores_HJ[:, None], visible_HJ[:, None]).squeeze(1)
    if weighing.kind == "silu":
        weights_HJ = scores_HJ * scores_HJ.sigmoid() / weighing.divisor * gate_HJ
    else:
        weights_HJ = (scores_HJ + gate_HJ.log()).softmax(-1)
    return torch.einsum("hj,jhv->hv", weights_HJ, v_JHV)


def _gate(rows_CW: Tensor, gate_CW: Tensor, c: int, t: int) -> Tensor:
    return gate_CW[c][rows_CW[c] == t].sum()
