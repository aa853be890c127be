"""``candidate_attention`` by one rectangle of all candidates and all events: no shape depends on a value."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hpgr.core.jagged import row_of
from hpgr.ops.candidate_attention.reading import Reading
from hpgr.ops.weighing import Weighing


def candidate_attention_fixed(reading: Reading, weighing: Weighing) -> Tensor:
    """See ``candidate_attention``. Cost grows with all candidates times all events: for batches of a user or two."""
    num_candidates, num_events = reading.q_CHK.shape[0], reading.k_THK.shape[0]
    q_HCK = reading.q_CHK.transpose(0, 1)
    query_C, event_T = (torch.arange(n, device=q_HCK.device) for n in (num_candidates, num_events))
    own_HC1 = (q_HCK * reading.own_k_CHK.transpose(0, 1)).sum(-1, keepdim=True) * weighing.scale
    scores_HCT = (q_HCK * weighing.scale) @ reading.k_THK.permute(1, 2, 0)
    if weighing.bias is not None:
        if num_events:
            scores_HCT = scores_HCT + weighing.bias.of(query_C[:, None], event_T[None, :])
        own_HC1 = own_HC1 + weighing.bias.own(query_C)[:, None]
    user_C, user_T = row_of(reading.candidate_offsets_B1, num_candidates), row_of(reading.user_offsets_B1, num_events)
    visible_CT = user_C[:, None] == user_T[None, :]
    if reading.key_time_T is not None and reading.query_time_C is not None:
        visible_CT = visible_CT & (reading.key_time_T[None, :] < reading.query_time_C[:, None])
    gate_HCT = _gates(reading)
    if reading.listed is not None and gate_HCT is not None:
        visible_CT = visible_CT & (gate_HCT[0] > 0)
    # The own column is the newest key; its gate is 1.
    scores_HCJ, visible_CJ = torch.cat([scores_HCT, own_HC1], -1), F.pad(visible_CT, (0, 1), value=True)
    scores_HCJ = weighing.in_context(q_HCK, scores_HCJ, visible_CJ)
    gate_HCJ = None if gate_HCT is None else F.pad(gate_HCT, (0, 1), value=1.0)
    weights_HCJ = weighing.weights(scores_HCJ, visible_CJ, gate_HCJ)
    read_HCV = weights_HCJ[..., :-1] @ reading.v_THK.transpose(0, 1)
    return (read_HCV + weights_HCJ[..., -1:] * reading.own_v_CHK.transpose(0, 1)).transpose(0, 1)


def _gates(reading: Reading) -> Tensor | None:
    """``[1 or H, C, T]``: what each event's weight is multiplied by; None: 1."""
    if reading.listed is not None:
        return _spread(*reading.listed, reading.k_THK.shape[0])[None]
    if reading.boost is None:
        return None
    rows_CW, gate_CW, beta_H = reading.boost
    return 1 + beta_H[:, None, None] * _spread(rows_CW, gate_CW, reading.k_THK.shape[0])


def _spread(rows_CW: Tensor, gate_CW: Tensor, num_events: int) -> Tensor:
    """``[C, T]``: the gate of each listed event, 0 elsewhere; what lists nothing falls into a column that is cut off."""
    gate_CT = gate_CW.new_zeros((rows_CW.shape[0], num_events + 1))
    return gate_CT.scatter_add(1, rows_CW.masked_fill(rows_CW < 0, num_events), gate_CW)[:, :-1]
