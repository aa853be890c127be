"""The definition of ``selective_scan``, one event at a time."""

from __future__ import annotations

import torch
from torch import Tensor


def selective_scan_reference(
    u_TE: Tensor, delta_TE: Tensor, a_EN: Tensor, b_TN: Tensor, c_TN: Tensor, offsets_B1: Tensor
) -> Tensor:
    """See ``selective_scan``."""
    out = []
    # Rows are taken apart once: the gradient of an index would be a whole tensor of zeros each time.
    events = list(zip(*(x.unbind(0) for x in (u_TE, delta_TE, b_TN, c_TN))))
    for start, stop in zip(offsets_B1[:-1].tolist(), offsets_B1[1:].tolist()):
        state_EN = torch.zeros_like(a_EN)
        for u_E, delta_E, b_N, c_N in events[start:stop]:
            state_EN, y_E = selective_step(state_EN, (u_E, delta_E), a_EN, (b_N, c_N))
            out.append(y_E)
    return torch.stack(out) if out else torch.zeros_like(u_TE)


def selective_step(
    state_EN: Tensor, event: tuple[Tensor, Tensor], a_EN: Tensor, ways: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """``(state [..., E, N], y [..., E])`` after one event: ``event`` is ``(u, delta) [..., E]``, ``ways`` ``(b, c) [..., N]``."""
    (u_E, delta_E), (b_N, c_N) = event, ways
    kept_EN = torch.exp(delta_E[..., None] * a_EN) * state_EN
    state_EN = kept_EN + (delta_E * u_E)[..., None] * b_N[..., None, :]
    return state_EN, (state_EN @ c_N[..., None]).squeeze(-1)
