"""A dense gate that lets each direction's reading through by what stands there. Liu et al., AAAI 2025, arXiv:2408.11451."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hpgr.core.errors import ConfigError


class SelectiveGate(nn.Module):
    """``G = W_s silu(H) + W_g sigmoid(H)`` with ``H = X + W X``: one ``W`` a stream, the other two shared."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``form``: each stream's gate reads that stream (``clean``), or, as in the published code, the sigmoid of the second
        reads the first one's gate (``released``)."""

        form: Literal["clean", "released"] = "clean"
        dropout: float = 0.2

        def __post_init__(self) -> None:
            if self.form not in ("clean", "released"):
                raise ConfigError(f"form ({self.form}) must be clean or released")
            if not 0 <= self.dropout < 1:
                raise ConfigError(f"dropout ({self.dropout}) must lie in [0, 1)")

        def build(self, *, dim: int, num_streams: int) -> SelectiveGate:
            return SelectiveGate(self, dim, num_streams)

    def __init__(self, config: Config, dim: int, num_streams: int) -> None:
        super().__init__()
        self.config = config
        self.streams = nn.ModuleList(nn.Linear(dim, dim) for _ in range(num_streams))
        self.silu, self.sigmoid = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, *streams_TD: Tensor) -> list[Tensor]:
        """The gate ``[T, D]`` of each stream, to be multiplied with what was read there."""
        gates: list[Tensor] = []
        for layer, x_TD in zip(self.streams, streams_TD):
            h_TD = x_TD + layer(x_TD)
            told_TD = gates[0] if gates and self.config.form == "released" else h_TD
            gates.append(self.dropout(self.silu(F.silu(h_TD)) + self.sigmoid(torch.sigmoid(told_TD))))
        return gates
