"""``listed_attention`` by gathers of the listed keys and values and two batched products, some queries at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from hpgr.ops.length_blocks import gathered
from hpgr.ops.weighing import Weighing

# List entries read at once: their keys and values fit a core's cache.
_ENTRIES = 1 << 15


def listed_attention_vectorised(
    q_NHK: Tensor, k_THK: Tensor, v_THK: Tensor, rows_NW: Tensor, gate_NW: Tensor, weighing: Weighing
) -> Tensor:
    """See ``listed_attention``."""
    if not k_THK.shape[0] or not rows_NW.numel():
        return v_THK.new_zeros((q_NHK.shape[0], *v_THK.shape[1:]))
    query_N = torch.arange(rows_NW.shape[0], device=rows_NW.device)
    step = max(1, _ENTRIES // rows_NW.shape[1])
    parts = zip(query_N.split(step), q_NHK.split(step), rows_NW.split(step), gate_NW.split(step))
    return torch.cat([_read(query, q, k_THK, v_THK, (rows, gate), weighing) for query, q, rows, gate in parts])


def _read(
    query_N: Tensor, q_NHK: Tensor, k_THK: Tensor, v_THK: Tensor, listed: tuple[Tensor, Tensor], weighing: Weighing
) -> Tensor:
    there_NW, gate_NW = listed[0] >= 0, listed[1]
    rows_NW = listed[0].clamp(min=0)
    (count, width), num_heads = rows_NW.shape, k_THK.shape[1]
    # A row of keys is H short rows, so that the gather leaves the heads in front and nothing is copied again.
    short_NHW = rows_NW[:, None] * num_heads + torch.arange(num_heads, device=rows_NW.device)[:, None]
    k, v = (gathered(x.flatten(0, 1), short_NHW.flatten(0, 1)) for x in (k_THK, v_THK))
    q = (q_NHK * weighing.scale).flatten(0, 1)[:, :, None]
    scores_NHW = torch.bmm(k, q).view(count, num_heads, width)
    if weighing.bias is not None:
        scores_NHW = scores_NHW + weighing.bias.of(query_N[:, None], rows_NW)[:, None]
    weights_NHW = weighing.weights(scores_NHW, there_NW[:, None], gate_NW[:, None])
    return torch.bmm(weights_NHW.flatten(0, 1)[:, None], v).view(count, num_heads, -1)
