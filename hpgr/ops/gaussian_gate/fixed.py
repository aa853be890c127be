"""``gaussian_gate`` over all rows: impulses at the centres times a square of heights; no shape depends on a value."""

from __future__ import annotations

import torch
from torch import Tensor

from hpgr.core.jagged import row_of, shapes_are_fixed
from hpgr.ops.gaussian_gate.bump import Bump
from hpgr.ops.gaussian_gate.vectorised import to_front


def gaussian_gate_fixed(
    rows_CK: Tensor, weight_CK: Tensor, user_offsets_B1: Tensor, bump: Bump
) -> tuple[Tensor, Tensor]:
    """See ``gaussian_gate``; inside ``fixed_shapes`` column ``t`` is row ``t``, or -1."""
    num_rows = int(user_offsets_B1[-1]) if bump.num_rows is None else bump.num_rows
    if not num_rows:
        return torch.full_like(rows_CK[:, :0], -1), weight_CK[:, :0]
    event_T, user_T = torch.arange(num_rows, device=rows_CK.device), row_of(user_offsets_B1, num_rows)
    height_TT = bump.height((event_T[:, None] - event_T).to(weight_CK.dtype)) * (user_T[:, None] == user_T)
    if bump.session_T is not None:
        height_TT = height_TT * (bump.session_T[:, None] == bump.session_T)
    weight_CK, at_CK = weight_CK.masked_fill(rows_CK < 0, 0.0), rows_CK.clamp(min=0)
    if bump.aggregate == "sum":
        impulse_CT = weight_CK.new_zeros((rows_CK.shape[0], num_rows)).scatter_add(1, at_CK, weight_CK)
        gate_CT = (impulse_CT @ height_TT).clamp(max=1.0)
    else:
        gate_CT = (height_TT[at_CK] * weight_CK[:, :, None]).amax(1)
    keep_CT = gate_CT >= bump.floor
    if not shapes_are_fixed():
        return to_front(event_T.expand_as(gate_CT), gate_CT, keep_CT)
    return torch.where(keep_CT, event_T, -1), gate_CT.masked_fill(~keep_CT, 0.0)
