"""``listed_attention`` by Triton kernels, for CUDA devices; Triton is imported at the first call."""

from __future__ import annotations

from torch import Tensor

from hpgr.ops.kernels.support import check_runnable
from hpgr.ops.weighing import Weighing


def listed_attention_triton(
    q_NHK: Tensor, k_THK: Tensor, v_THK: Tensor, rows_NW: Tensor, gate_NW: Tensor, weighing: Weighing
) -> Tensor:
    """See ``listed_attention``. Departs: gradients of keys and values are added in no fixed order.

    Raises: UnsupportedError where Triton, the device, the dtype or the bias does not fit.
    """
    check_runnable(q_NHK, weighing.bias)
    from hpgr.ops.kernels.listed import listed_pairs

    return listed_pairs(q_NHK, k_THK, v_THK, None, rows_NW, gate_NW, weighing)
