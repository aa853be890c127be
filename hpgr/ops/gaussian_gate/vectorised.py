"""``gaussian_gate`` over the windows round the centres, or over the whole history where that is shorter."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from hpgr.ops.gaussian_gate.bump import Bump
from hpgr.ops.length_blocks import gathered


def gaussian_gate_vectorised(
    rows_CK: Tensor, weight_CK: Tensor, user_offsets_B1: Tensor, bump: Bump
) -> tuple[Tensor, Tensor]:
    """See ``gaussian_gate``."""
    weight_CK = weight_CK.masked_fill(rows_CK < 0, 0.0)
    reach = _counted(bump, weight_CK.dtype)
    lengths = user_offsets_B1.diff()
    longest = int(lengths.max()) if lengths.numel() else 0
    if bump.aggregate == "sum" and bump.session_T is None and rows_CK.shape[1] * (2 * reach + 1) < longest:
        near_CP, gate_CP = _summed(rows_CK, weight_CK, user_offsets_B1, bump, int(reach))
    else:
        near_CP = _near(rows_CK, user_offsets_B1, bump.reach, longest)
        gate_CP = _of_each_centre(near_CP, rows_CK, weight_CK, bump)
    return to_front(near_CP, gate_CP, (gate_CP >= bump.floor) & (near_CP >= 0))


def _counted(bump: Bump, dtype: torch.dtype) -> float:
    """Places from a centre beyond which its height is nothing beside a gate that is listed."""
    width = float(bump.sigma.detach()) if isinstance(bump.sigma, Tensor) else bump.sigma
    if width == math.inf:
        return math.inf
    return max(bump.reach, math.ceil(width * math.sqrt(-2 * math.log(torch.finfo(dtype).eps * bump.floor))))


def _summed(
    rows_CK: Tensor, weight_CK: Tensor, user_offsets_B1: Tensor, bump: Bump, reach: int
) -> tuple[Tensor, Tensor]:
    """``near_CP`` and ``gate_CP`` on an axis of each candidate's own, on which gaps between centres are cut to what counts:
    there one impulse a centre, spread by the Gaussian, is the sum over all of them."""
    apart, beyond = 2 * reach + 1, torch.iinfo(torch.int64).max // 2
    row_CK, order_CK = rows_CK.masked_fill(rows_CK < 0, beyond).sort(1)
    at_CK = reach + F.pad(row_CK.diff(dim=1).clamp(max=apart), (1, 0)).cumsum(1)
    size = rows_CK.shape[1] * apart
    impulse_CP = weight_CK.new_zeros((rows_CK.shape[0], size)).scatter_add(1, at_CK, weight_CK.gather(1, order_CK))
    height_R = bump.height(torch.arange(reach + 1, device=rows_CK.device).to(weight_CK.dtype))
    gate_CP, padded_CP = impulse_CP, F.pad(impulse_CP, (reach, reach))
    for step in range(1, reach + 1):
        aside_CP = padded_CP[:, reach - step : reach - step + size] + padded_CP[:, reach + step : reach + step + size]
        gate_CP = torch.addcmul(gate_CP, aside_CP, height_R[step])
    # How far the axis lies from the rows grows where a gap was cut, at the next centre's first place.
    shift_CK = row_CK - at_CK
    grown_CK = torch.cat([shift_CK[:, :1], shift_CK.diff(dim=1)], 1)
    shift_CP = torch.zeros_like(impulse_CP, dtype=torch.int64).scatter_add(1, at_CK - reach, grown_CK).cumsum(1)
    near_CP = shift_CP + torch.arange(size, device=rows_CK.device)
    user_C1 = (torch.searchsorted(user_offsets_B1, row_CK[:, :1].contiguous(), right=True) - 1).clamp(min=0)
    start_C1 = gathered(user_offsets_B1, user_C1)
    stop_C1 = gathered(user_offsets_B1, (user_C1 + 1).clamp(max=user_offsets_B1.shape[0] - 1))
    return near_CP.masked_fill((near_CP < start_C1) | (near_CP >= stop_C1), -1), gate_CP.clamp(max=1.0)


def _of_each_centre(near_CP: Tensor, rows_CK: Tensor, weight_CK: Tensor, bump: Bump) -> Tensor:
    """``gate_CP`` from the distance of every row to every centre."""
    # Counted from a centre, rows of any batch are exact in single precision.
    at_CP, at_CK = ((rows - rows_CK[:, :1]).to(weight_CK.dtype) for rows in (near_CP, rows_CK))
    height_CPK = bump.height(at_CP[:, :, None] - at_CK[:, None, :])
    if bump.session_T is not None:
        session_CP, session_CK = (gathered(bump.session_T, rows.clamp(min=0)) for rows in (near_CP, rows_CK))
        height_CPK = height_CPK * (session_CP[:, :, None] == session_CK[:, None, :])
    if bump.aggregate == "sum":
        return torch.bmm(height_CPK, weight_CK[:, :, None]).squeeze(2).clamp(max=1.0)
    return (height_CPK * weight_CK[:, None, :]).amax(2)


def _near(rows_CK: Tensor, user_offsets_B1: Tensor, reach: float, longest: int) -> Tensor:
    """``[C, P]``: every row within reach of a centre and of its user, rising, each once; -1 elsewhere."""
    user_CK = (torch.searchsorted(user_offsets_B1, rows_CK, right=True) - 1).clamp(min=0)
    start_CK, stop_CK = gathered(user_offsets_B1, user_CK), gathered(user_offsets_B1, user_CK + 1)
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
    return to_front(near_CP, near_CP, near_CP >= 0)[0]


def to_front(near_CP: Tensor, gate_CP: Tensor, keep_CP: Tensor) -> tuple[Tensor, Tensor]:
    """The kept rows and gates, in order; then -1 and 0. As wide as the most that a candidate keeps."""
    rank_CP = keep_CP.cumsum(1)
    width = int(rank_CP[:, -1].max()) if rank_CP.numel() else 0
    # What is dropped falls into one column more, which is cut off.
    slot_CP = torch.where(keep_CP, rank_CP - 1, width)
    rows_CW = near_CP.new_full((near_CP.shape[0], width + 1), -1).scatter(1, slot_CP, near_CP)
    gate_CW = gate_CP.new_zeros(rows_CW.shape).scatter(1, slot_CP, gate_CP)
    return rows_CW[:, :width], gate_CW[:, :width]
