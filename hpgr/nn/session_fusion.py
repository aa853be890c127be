"""Adds what an event's session means to the event, without letting it swamp the event.

Ours, for the fusion layer that Chen et al., WWW 2026, arXiv:2603.00980, draw without a formula: unnormed and without a
gain, the branch was measured to grow to 15–92 times the token.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hpgr.core.errors import ConfigError
from hpgr.core.jagged import shapes_are_fixed


class SessionFusion(nn.Module):
    """``x + gain * LayerNorm(g * W_r r)`` with ``g = sigmoid(W_g [x; r])``.

    ``branch_ratio``: mean norm of what was added over mean norm of ``x`` in the last call, without gradient; 0 without
    rows.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``gain``: where the learned gain of each column starts; None: no gain. With ``norm`` False, the raw form."""

        gain: float | None = 0.05
        norm: bool = True

        def __post_init__(self) -> None:
            if self.gain is not None and not self.gain > 0:
                raise ConfigError(f"gain ({self.gain}) must be positive, or None for no gain")

        def build(self, *, dim: int) -> SessionFusion:
            return SessionFusion(self, dim)

    branch_ratio: Tensor

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        self.value = nn.Linear(dim, dim, bias=False)
        self.gate = nn.Linear(2 * dim, dim, bias=False)
        self.norm = nn.LayerNorm(dim) if config.norm else None
        self.gain_D = nn.Parameter(torch.full((dim,), config.gain)) if config.gain is not None else None
        self.register_buffer("branch_ratio", torch.zeros(()), persistent=False)

    def forward(self, x_TD: Tensor, session_TD: Tensor) -> Tensor:
        """``[T, D]`` from the events ``x`` and each event's session feature."""
        gate_TD = self.gate(torch.cat([x_TD, session_TD], -1)).sigmoid()
        branch_TD = gate_TD * self.value(session_TD)
        if self.norm is not None:
            branch_TD = self.norm(branch_TD)
        if self.gain_D is not None:
            branch_TD = branch_TD * self.gain_D
        if not shapes_are_fixed():
            self.branch_ratio = _ratio(branch_TD.detach(), x_TD.detach())
        return x_TD + branch_TD


def _ratio(branch_TD: Tensor, x_TD: Tensor) -> Tensor:
    return branch_TD.norm(dim=-1).sum() / x_TD.norm(dim=-1).sum().clamp(min=1e-12)
