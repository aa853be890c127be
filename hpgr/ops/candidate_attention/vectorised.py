"""``candidate_attention`` by batched products over users of similar history length; by lists where they are given."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from hpgr.ops.candidate_attention.reading import Reading
from hpgr.ops.length_blocks import gathered, length_blocks, padded_index
from hpgr.ops.listed_attention.vectorised import listed_attention_vectorised
from hpgr.ops.weighing import PairBias, Weighing


def candidate_attention_vectorised(reading: Reading, weighing: Weighing) -> Tensor:
    """See ``candidate_attention``."""
    if reading.listed is not None:
        return _read_lists(reading, weighing, *reading.listed)
    dense_CHV = _read_all(reading, weighing)
    if reading.boost is None:
        return dense_CHV
    # A ⊙ (1 + beta G) V = A V + beta (A ⊙ G) V: the second term reads the lists only.
    rows_CW, gate_CW, beta_H = reading.boost
    rows_CW = _earlier(reading, rows_CW)
    listed_CHV = listed_attention_vectorised(reading.q_CHK, reading.k_THK, reading.v_THK, rows_CW, gate_CW, weighing)
    return dense_CHV + beta_H[:, None] * listed_CHV


def _read_lists(reading: Reading, weighing: Weighing, rows_CW: Tensor, gate_CW: Tensor) -> Tensor:
    rows_CW = _earlier(reading, rows_CW)
    if weighing.kind == "silu":
        listed_CHV = listed_attention_vectorised(
            reading.q_CHK, reading.k_THK, reading.v_THK, rows_CW, gate_CW, weighing
        )
        return listed_CHV + _own(reading, weighing)
    # A softmax shares one between the list and the candidate's own column, which becomes a row after all of the history.
    num_events = reading.k_THK.shape[0]
    own_C1 = num_events + torch.arange(rows_CW.shape[0], device=rows_CW.device)[:, None]
    rows_CW = torch.cat([rows_CW, own_C1], 1)
    gate_CW = torch.cat([gate_CW, torch.ones_like(own_C1, dtype=gate_CW.dtype)], 1)
    k, v = torch.cat([reading.k_THK, reading.own_k_CHK]), torch.cat([reading.v_THK, reading.own_v_CHK])
    if weighing.bias is not None:
        weighing = replace(weighing, bias=_OwnAppended(weighing.bias, num_events))
    return listed_attention_vectorised(reading.q_CHK, k, v, rows_CW, gate_CW, weighing)


def _own(reading: Reading, weighing: Weighing) -> Tensor:
    """``[C, H, V]``: what silu weights read in the candidate's own column."""
    scores_CH1 = (reading.q_CHK * reading.own_k_CHK).sum(-1, keepdim=True) * weighing.scale
    if weighing.bias is not None:
        query_C = torch.arange(scores_CH1.shape[0], device=scores_CH1.device)
        scores_CH1 = scores_CH1 + weighing.bias.own(query_C)[:, None, None]
    return F.silu(scores_CH1) * (reading.own_v_CHK / weighing.divisor)


def _earlier(reading: Reading, rows_CW: Tensor) -> Tensor:
    if reading.key_time_T is None or reading.query_time_C is None:
        return rows_CW
    time_CW = gathered(reading.key_time_T, rows_CW.clamp(min=0))
    return rows_CW.masked_fill(time_CW >= reading.query_time_C[:, None], -1)


@dataclass(frozen=True, slots=True, eq=False)
class _OwnAppended:
    """A bias where keys from row ``num_events`` on are the queries' own columns."""

    bias: PairBias
    num_events: int

    def of(self, query_rows: Tensor, key_rows: Tensor) -> Tensor:
        own = self.bias.own(query_rows)
        if not self.num_events:
            return own.expand(torch.broadcast_shapes(query_rows.shape, key_rows.shape))
        return torch.where(
            key_rows >= self.num_events, own, self.bias.of(query_rows, key_rows.clamp(max=self.num_events - 1))
        )

    def own(self, query_rows: Tensor) -> Tensor:
        return self.bias.own(query_rows)


def _read_all(reading: Reading, weighing: Weighing) -> Tensor:
    parts, places = [], []
    for users_b in length_blocks(reading.user_offsets_B1):
        cand_bC, asked_bC = padded_index(reading.candidate_offsets_B1, users_b)
        if not asked_bC.any():
            continue
        read_bCHV = _read_block(reading, weighing, cand_bC, padded_index(reading.user_offsets_B1, users_b))
        parts.append(read_bCHV[asked_bC])
        places.append(cand_bC[asked_bC])
    if not parts:
        return torch.zeros_like(reading.own_v_CHK)
    return torch.zeros_like(reading.own_v_CHK).index_copy(0, torch.cat(places), torch.cat(parts))


def _read_block(reading: Reading, weighing: Weighing, cand_bC: Tensor, events: tuple[Tensor, Tensor]) -> Tensor:
    """``[b, C, H, V]``: the own column is the last of the scores."""
    index_bL, there_bL = events
    query, key = cand_bC[:, :, None], index_bL[:, None, :]
    q, own_k, own_v = (
        gathered(x, cand_bC).transpose(1, 2) for x in (reading.q_CHK, reading.own_k_CHK, reading.own_v_CHK)
    )
    k, v = (gathered(x, index_bL).transpose(1, 2) for x in (reading.k_THK, reading.v_THK))
    q = q * weighing.scale
    scores_bHCL, own_bHC1 = q @ k.transpose(-1, -2), (q * own_k).sum(-1, keepdim=True)
    if weighing.bias is not None:
        if index_bL.shape[1]:
            scores_bHCL = scores_bHCL + weighing.bias.of(query, key)[:, None]
        own_bHC1 = own_bHC1 + weighing.bias.own(query)[:, None]
    visible_bCL = there_bL[:, None, :].expand(-1, cand_bC.shape[1], -1)
    if reading.key_time_T is not None and reading.query_time_C is not None:
        visible_bCL = visible_bCL & (gathered(reading.key_time_T, key) < reading.query_time_C[query])
    visible_bCJ = torch.cat([visible_bCL, torch.ones_like(query, dtype=torch.bool)], 2)
    weights_bHCJ = weighing.weights(torch.cat([scores_bHCL, own_bHC1], -1), visible_bCJ[:, None])
    return (weights_bHCJ[..., :-1] @ v + weights_bHCJ[..., -1:] * own_v).transpose(1, 2)
