"""``gaussian_gate`` over the windows round the centres, or over the whole history where that is shorter."""

from __future__ import annotations

import torch
from torch import Tensor

from hpgr.ops.gaussian_gate.bump import Bump
from hpgr.ops.length_blocks import gathered


def gaussian_gate_vectorised(
    rows_CK: Tensor, weight_CK: Tensor, user_offsets_B1: Tensor, bump: Bump
) -> tuple[Tensor, Tensor]:
    """See ``gaussian_gate``."""
    near_CP = _near(rows_CK, user_offsets_B1, bump.reach)
    # Counted from a centre, rows of any batch are exact in single precision.
    at_CP, at_CK = ((rows - rows_CK[:, :1]).to(weight_CK.dtype) for rows in (near_CP, rows_CK))
    distance_CPK = at_CP[:, :, None] - at_CK[:, None, :]
    height_CPK = bump.height(distance_CPK)
    if bump.session_T is not None:
        session_CP, session_CK = (gathered(bump.session_T, rows.clamp(min=0)) for rows in (near_CP, rows_CK))
        height_CPK = height_CPK * (session_CP[:, :, None] == session_CK[:, None, :])
    weight_CK = weight_CK.masked_fill(rows_CK < 0, 0.0)
    if bump.aggregate == "sum":
        gate_CP = torch.bmm(height_CPK, weight_CK[:, :, None]).squeeze(2).clamp(max=1.0)
    else:
        gate_CP = (height_CPK * weight_CK[:, None, :]).amax(2)
    at_CW, there_CW = _front((gate_CP >= bump.floor) & (near_CP >= 0))
    return near_CP.gather(1, at_CW).masked_fill(~there_CW, -1), gate_CP.gather(1, at_CW).masked_fill(~there_CW, 0.0)


def _near(rows_CK: Tensor, user_offsets_B1: Tensor, reach: float) -> Tensor:
    """``[C, P]``: every row within reach of a centre and of its user, rising, each once; -1 elsewhere."""
    user_CK = (torch.searchsorted(user_offsets_B1, rows_CK, right=True) - 1).clamp(min=0)
    start_CK, stop_CK = gathered(user_offsets_B1, user_CK), gathered(user_offsets_B1, user_CK + 1)
    lengths = user_offsets_B1.diff()
    longest = int(lengths.max()) if lengths.numel() else 0
    if rows_CK.shape[1] * (2 * reach + 1) >= longest:
        # All centres of a candidate lie in one user; -1 comes before every start.
        there = rows_CK >= 0
        start_C1 = start_CK.masked_fill(~there, -1).amax(1, keepdim=True)
        stop_C1 = stop_CK.masked_fill(~there, -1).amax(1, keepdim=True)
        near_CP = start_C1 + torch.arange(longest, device=rows_CK.device)
        return near_CP.masked_fill((near_CP >= stop_C1) | (start_C1 < 0), -1)
    step = torch.arange(-int(reach), int(reach) + 1, device=rows_CK.device)
    near = rows_CK[:, :, None] + step
    inside = (near >= start_CK[:, :, None]) & (near < stop_CK[:, :, None]) & (rows_CK >= 0)[:, :, None]
    near_CP = near.masked_fill(~inside, -1).flatten(1).sort(1).values
    again = torch.zeros_like(near_CP, dtype=torch.bool)
    again[:, 1:] = near_CP[:, 1:] == near_CP[:, :-1]
    near_CP = near_CP.masked_fill(again, -1)
    at_CW, there_CW = _front(near_CP >= 0)
    return near_CP.gather(1, at_CW).masked_fill(~there_CW, -1)


def _front(keep_CP: Tensor) -> tuple[Tensor, Tensor]:
    """``(at [C, W], there [C, W])``: where the kept entries stand, in order; ``W`` is the most that a row keeps."""
    width = int(keep_CP.sum(1).max()) if keep_CP.numel() else 0
    at_CW = (~keep_CP).to(torch.int8).sort(dim=1, stable=True).indices[:, :width]
    return at_CW, keep_CP.gather(1, at_CW)
