"""Cross-entropy to a teacher that says the same of all but a few items, without a table of what it says.

Source: Zhu et al., WSDM 2024, arXiv:2311.01056 (transition distillation); the closed form is ours.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def sparse_teacher_loss(
    student_UD: Tensor, weight_U: Tensor, table_VD: Tensor, links: tuple[Tensor, Tensor, Tensor], *, chunk: int = 128
) -> Tensor:
    """Weighted mean over rows of ``-Σ_j t_j log softmax(z)_j``, ``z = student @ table.T``, in nats; 0 where weights are.

    ``links``: ``(row_N, item_N, strength_N)``, strengths not negative, each pair once; ``t = softmax(s)`` with ``s`` the strength
    of a linked item and 0 of any other. So ``Σ_j t_j z_j = (Σ_j z_j + Σ_links (e^s - 1) z_j) / Z``: sums over all items come
    from one vector, and no more than ``chunk`` rows of scores stand in memory at once.
    """
    row_N, item_N, strength_N = links
    student_UD, table_VD = student_UD.float(), table_VD.float()
    most_U = student_UD.new_zeros(len(student_UD)).scatter_reduce(0, row_N, strength_N.float(), "amax")
    other_U = (-most_U).exp()
    # As differences from the strongest link, so that no exponential is beyond what floats hold.
    above_N = (strength_N - most_U[row_N]).exp() - other_U[row_N]
    total_U = (table_VD.shape[0] * other_U).index_add(0, row_N, above_N)
    linked_N = (student_UD[row_N] * table_VD[item_N]).sum(-1)
    expected_U = (other_U * (student_UD @ table_VD.sum(0))).index_add(0, row_N, above_N * linked_N) / total_U
    cost_U = _log_sums(student_UD, table_VD, chunk) - expected_U
    return (cost_U * weight_U).sum() / weight_U.sum().clamp(min=1e-12)


def _log_sums(student_UD: Tensor, table_VD: Tensor, chunk: int) -> Tensor:
    """``[U]``: ``log Σ_j exp z_j``; scores are made once more for the gradient instead of being kept."""
    parts = [checkpoint(_log_sum, part, table_VD, use_reentrant=False) for part in student_UD.split(chunk)]
    return torch.cat([student_UD.new_zeros(0), *parts])


def _log_sum(part_UD: Tensor, table_VD: Tensor) -> Tensor:
    return (part_UD @ table_VD.T).float().logsumexp(1)
