"""``listed_attention`` over the entries of all lists end to end: no key or value is copied, and no gap is worked on."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from hpgr.ops.listed_attention.entries import EntryProducts, EntrySums, Lists
from hpgr.ops.weighing import Weighing

# What the sums of entries exist in.
_DTYPES = (torch.float32, torch.float64)


def listed_attention_vectorised(
    q_NHK: Tensor, k_THK: Tensor, v_THK: Tensor, rows_NW: Tensor, gate_NW: Tensor, weighing: Weighing
) -> Tensor:
    """See ``listed_attention``."""
    return read_lists(q_NHK, k_THK, v_THK, Lists((rows_NW, gate_NW)), weighing)


def read_lists(q_NHK: Tensor, k_THK: Tensor, v_THK: Tensor, lists: Lists, weighing: Weighing) -> Tensor:
    """The same of lists that may have been read before."""
    if not k_THK.shape[0] or not lists[0].numel():
        return v_THK.new_zeros((q_NHK.shape[0], *v_THK.shape[1:]))
    entries, gate_E = lists.entries(k_THK.shape[0])
    q, k, v = (by_head(x) for x in (q_NHK * weighing.scale, k_THK, v_THK))
    with torch.autocast(q.device.type, enabled=False):
        scores_HE = EntryProducts.apply(q, k, entries)
        if weighing.bias is not None:
            scores_HE = scores_HE + lists.bias_E(weighing.bias, entries)
        weights_HE = _weights(scores_HE, lists, gate_E.to(scores_HE.dtype), weighing)
        return EntrySums.apply(weights_HE, v, entries).transpose(0, 1).to(v_THK.dtype)


def by_head(x_THK: Tensor) -> Tensor:
    """``[H, T, K]`` contiguous, in single precision at least; a view where the memory already lies so."""
    return x_THK.transpose(0, 1).to(x_THK.dtype if x_THK.dtype in _DTYPES else torch.float32).contiguous()


def _weights(scores_HE: Tensor, lists: Lists, gate_E: Tensor, weighing: Weighing) -> Tensor:
    if weighing.kind == "silu":
        return F.silu(scores_HE) * (gate_E / weighing.divisor)
    # A softmax looks at a whole list: the scores, a few numbers each, are padded for it.
    rows_NW, gate_NW = lists
    place_E = (rows_NW >= 0).flatten().nonzero().squeeze(1)
    padded_HP = scores_HE.new_zeros((scores_HE.shape[0], rows_NW.numel())).index_copy(1, place_E, scores_HE)
    gate_NW = gate_NW.to(scores_HE.dtype)
    weights_HNW = weighing.weights(padded_HP.unflatten(1, rows_NW.shape), rows_NW >= 0, gate_NW)
    return weights_HNW.flatten(1).index_select(1, place_E)
