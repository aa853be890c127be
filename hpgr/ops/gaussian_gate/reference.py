"""The definition of ``gaussian_gate``, one candidate and one event at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from hpgr.ops.gaussian_gate.bump import Bump


def gaussian_gate_reference(
    rows_CK: Tensor, weight_CK: Tensor, user_offsets_B1: Tensor, bump: Bump
) -> tuple[Tensor, Tensor]:
    """See ``gaussian_gate``."""
    borders = list(zip(user_offsets_B1[:-1].tolist(), user_offsets_B1[1:].tolist()))
    rows: list[list[int]] = []
    gates: list[list[Tensor]] = []
    for c, centres in enumerate(rows_CK.tolist()):
        rows.append([])
        gates.append([])
        own = [(m, weight_CK[c, at]) for at, m in enumerate(centres) if m >= 0]
        for start, stop in borders:
            for k in range(start, stop):
                near = [(m, w) for m, w in own if start <= m < stop and _together(bump, k, m)]
                if not near:
                    continue
                height_M = torch.stack([w * bump.height(w.new_tensor(abs(k - m))) for m, w in near])
                gate = height_M.sum().clamp(max=1.0) if bump.aggregate == "sum" else height_M.amax()
                if gate >= bump.floor:
                    rows[-1].append(k)
                    gates[-1].append(gate)
    width = max((len(listed) for listed in rows), default=0)
    rows_CW = torch.tensor([[*x, *[-1] * (width - len(x))] for x in rows], dtype=torch.int64).view(len(rows), width)
    nothing = weight_CK.new_zeros(())
    flat = [gate for listed in gates for gate in (*listed, *[nothing] * (width - len(listed)))]
    return rows_CW, torch.stack(flat).view(len(rows), width) if flat else weight_CK.new_zeros((len(rows), width))


def _together(bump: Bump, k: int, m: int) -> bool:
    return bump.session_T is None or bool(bump.session_T[k] == bump.session_T[m])
