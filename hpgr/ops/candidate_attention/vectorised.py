"""``candidate_attention`` by batched products over whole histories, and by lists where they are given."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hpgr.ops.candidate_attention.contextual import read_in_context
from hpgr.ops.candidate_attention.dense import read_all
from hpgr.ops.candidate_attention.reading import Listed, Reading
from hpgr.ops.listed_attention.entries import Lists
from hpgr.ops.listed_attention.vectorised import read_lists
from hpgr.ops.weighing import PairBias, Weighing


def candidate_attention_vectorised(reading: Reading, weighing: Weighing) -> Tensor:
    """See ``candidate_attention``."""
    if weighing.context is not None:
        return read_in_context(reading, weighing)
    if reading.listed is not None:
        return _read_lists(reading, weighing, reading.listed)
    dense_CHV = read_all(reading, weighing)
    if reading.boost is None:
        return dense_CHV
    # A ⊙ (1 + beta G) V = A V + beta (A ⊙ G) V: the second term reads the lists only.
    rows_CW, gate_CW, beta_H = reading.boost
    lists = Lists((reading.earlier(rows_CW), gate_CW))
    listed_CHV = read_lists(reading.q_CHK, reading.k_THK, reading.v_THK, lists, weighing)
    return dense_CHV + (beta_H[:, None] * listed_CHV).to(dense_CHV.dtype)


def _read_lists(reading: Reading, weighing: Weighing, listed: Listed) -> Tensor:
    (rows_CW, gate_CW), timed = listed, reading.key_time_T is not None
    if timed:
        rows_CW = reading.earlier(rows_CW)
    if weighing.kind == "silu":
        lists = listed if isinstance(listed, Lists) and not timed else Lists((rows_CW, gate_CW))
        return read_lists(reading.q_CHK, reading.k_THK, reading.v_THK, lists, weighing) + reading.own(weighing)
    # A softmax shares one between the list and the candidate's own column, which becomes a row after all of the history.
    num_events = reading.k_THK.shape[0]
    own_C1 = num_events + torch.arange(rows_CW.shape[0], device=rows_CW.device)[:, None]
    rows_CW = torch.cat([rows_CW, own_C1], 1)
    gate_CW = torch.cat([gate_CW, torch.ones_like(own_C1, dtype=gate_CW.dtype)], 1)
    k, v = torch.cat([reading.k_THK, reading.own_k_CHK]), torch.cat([reading.v_THK, reading.own_v_CHK])
    if weighing.bias is not None:
        weighing = replace(weighing, bias=_OwnAppended(weighing.bias, num_events))
    return read_lists(reading.q_CHK, k, v, Lists((rows_CW, gate_CW)), weighing)


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
