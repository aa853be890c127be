"""A linear recurrence over each row's events whose forgetting and writing depend on the event: the selective state space.

Source: Gu & Dao, 2023, arXiv:2312.00752, algorithm 2. Departs: no CUDA package; a row is cut into chunks that go side by
side, and what crosses a border is added in a second pass.
"""

from __future__ import annotations

from torch import Tensor

from hpgr.ops.choice import chosen
from hpgr.ops.selective_scan.reference import selective_scan_reference, selective_step
from hpgr.ops.selective_scan.vectorised import selective_scan_vectorised
from hpgr.ops.weighing import check_offsets

__all__ = ["IMPLEMENTATIONS", "selective_scan", "selective_step"]

IMPLEMENTATIONS = {"reference": selective_scan_reference, "vectorised": selective_scan_vectorised}


def selective_scan(
    u_TE: Tensor, delta_TE: Tensor, a_EN: Tensor, b_TN: Tensor, c_TN: Tensor, offsets_B1: Tensor, *, impl: str = "auto"
) -> Tensor:
    """``[T, E]``: ``y_t = h_t · c_t`` of the state ``h_t = exp(delta_t a) h_{t-1} + delta_t u_t b_t``, zero before a row.

    ``E`` channels of ``N`` numbers each; ``delta`` at least 0 and ``a`` at most 0, so that states fade. A row's states know
    nothing of other rows. Computed in single precision at least, whatever autocast says. Memory is that of a tensor
    ``(T, E, N)`` where gradients are wanted, of two where rows are cut.

    Raises: ValueError for shapes that do not fit; UnknownNameError for an implementation that does not exist.
    """
    size, (channels, numbers) = u_TE.shape[0], a_EN.shape
    if u_TE.shape != delta_TE.shape or u_TE.shape[1:] != (channels,) or not b_TN.shape == c_TN.shape == (size, numbers):
        raise ValueError(
            f"u, delta, b and c must be (T, E), (T, E), (T, N) and (T, N) for a {tuple(a_EN.shape)}; got {tuple(u_TE.shape)}, "
            f"{tuple(delta_TE.shape)}, {tuple(b_TN.shape)} and {tuple(c_TN.shape)}"
        )
    check_offsets("offsets", offsets_B1, size)
    return IMPLEMENTATIONS[chosen(impl, IMPLEMENTATIONS)](u_TE, delta_TE, a_EN, b_TN, c_TN, offsets_B1)
