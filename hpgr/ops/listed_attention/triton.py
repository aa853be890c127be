"""``listed_attention`` by Triton kernels, for CUDA devices; Triton is imported at the first call."""

from __future__ import annotations

import torch
from torch import Tensor

from hpgr.ops.kernels.support import check_runnable
from hpgr.ops.weighing import Weighing

# From so many queries on, finding what lists have in common costs less than it saves.
_MANY = 1024


def listed_attention_triton(
    q_NHK: Tensor, k_THK: Tensor, v_THK: Tensor, rows_NW: Tensor, gate_NW: Tensor, weighing: Weighing
) -> Tensor:
    """See ``listed_attention``. Lists that many neighbours share (session-sparse histories) are read as their unions, where
    no gradient of the gate is asked for. Departs: gradients of keys and values are added in no fixed order.

    Raises: UnsupportedError where Triton, the device, the dtype or the bias does not fit.
    """
    check_runnable(q_NHK, weighing.bias)
    from hpgr.ops.kernels.listed import listed_pairs

    if weighing.kind == "silu" and weighing.bias is None and not (torch.is_grad_enabled() and gate_NW.requires_grad):
        from hpgr.ops.kernels.union import Union, union_pairs

        union = Union.known(rows_NW, gate_NW) if q_NHK.shape[0] >= _MANY else None
        if union is not None:
            return union_pairs(q_NHK, k_THK, v_THK, union, weighing)
    return listed_pairs(q_NHK, k_THK, v_THK, None, rows_NW, gate_NW, weighing)
