"""``candidate_attention`` by Triton kernels, for CUDA devices; Triton is imported at the first call."""

from __future__ import annotations

from torch import Tensor

from hpgr.ops.candidate_attention.reading import Reading
from hpgr.ops.kernels.support import check_runnable
from hpgr.ops.weighing import Weighing


def candidate_attention_triton(reading: Reading, weighing: Weighing) -> Tensor:
    """See ``candidate_attention``. A boost is the dense read and, times beta, a read of the lists without the own column.

    Raises: UnsupportedError where Triton, the device, the dtype or the bias does not fit.
    """
    check_runnable(reading.q_CHK, weighing.bias)
    from hpgr.ops.kernels.dense import Pairs, dense_pairs
    from hpgr.ops.kernels.listed import listed_pairs

    qkv, own = (reading.q_CHK, reading.k_THK, reading.v_THK), (reading.own_k_CHK, reading.own_v_CHK)
    if reading.listed is not None:
        rows_CW, gate_CW = reading.listed
        return listed_pairs(*qkv, own, reading.earlier(rows_CW), gate_CW, weighing)
    pairs = Pairs(
        query_offsets=reading.candidate_offsets_B1,
        key_offsets=reading.user_offsets_B1,
        same=False,
        query_when=reading.query_time_C,
        key_when=reading.key_time_T,
    )
    dense_CHV = dense_pairs(*qkv, own, pairs, weighing)
    if reading.boost is None:
        return dense_CHV
    rows_CW, gate_CW, beta_H = reading.boost
    listed_CHV = listed_pairs(*qkv, None, reading.earlier(rows_CW), gate_CW, weighing)
    return dense_CHV + (beta_H[:, None] * listed_CHV).to(dense_CHV.dtype)
