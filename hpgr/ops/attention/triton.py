"""``attention`` by Triton kernels, for CUDA devices; Triton is imported at the first call."""

from __future__ import annotations

from torch import Tensor

from hpgr.ops.attention.mask_rule import MaskRule
from hpgr.ops.kernels.support import check_runnable
from hpgr.ops.weighing import Weighing


def attention_triton(
    q_THK: Tensor, k_THK: Tensor, v_THK: Tensor, offsets_B1: Tensor, rule: MaskRule, weighing: Weighing
) -> Tensor:
    """See ``attention``. Departs: 16-bit weights are rounded before they meet the values; sums are float32.

    Raises: UnsupportedError where Triton, the device, the dtype or the bias does not fit.
    """
    check_runnable(q_THK, weighing.bias)
    from hpgr.ops.kernels.dense import Pairs, dense_pairs

    pairs = Pairs(
        query_offsets=offsets_B1,
        key_offsets=offsets_B1,
        same=True,
        causal=rule.causal,
        window=rule.window,
        query_group=rule.group_T,
        key_group=rule.group_T,
        query_when=rule.time_T,
        key_when=rule.time_T,
    )
    return dense_pairs(q_THK, k_THK, v_THK, None, pairs, weighing)
