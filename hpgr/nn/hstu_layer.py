"""One HSTU layer without its attention, so that history and candidates share weights and read differently.

Zhai et al., ICML 2024, arXiv:2402.17152, equations 1–3; ``research`` and ``library`` are the two layers of the authors'
code, whose weights are not interchangeable. Departs: no stochastic depth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hpgr.core.errors import ConfigError
from hpgr.nn.contextual_position import ContextualPosition


class HstuLayer(nn.Module):
    """``project`` → an attention op with ``normaliser``, ``scale`` and ``context`` → ``finish``."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``normaliser``: the constant that divides silu weights, of the order of a history's length; it never comes
        from a batch. ``head_dim`` and ``value_dim`` a head: ``dim / num_heads`` where None. ``silu``: on all
        projections or on the gate ``u`` only. ``gate``: ``LN(a) * u``, or ``[u, a, LN(a) * u]``. ``context``: places
        found from the scores. ``init_std`` None: Xavier.
        """

        num_heads: int = 1
        head_dim: int | None = None
        value_dim: int | None = None
        normaliser: float = 200.0
        silu: Literal["all", "gate"] = "all"
        scaled: bool = False
        bias: bool = False
        affine: bool = False
        gate: Literal["norm_then_gate", "concat"] = "norm_then_gate"
        dropout: float = 0.0
        context: ContextualPosition.Config | None = None
        init_std: float | None = None
        eps: float = 1e-6

        def __post_init__(self) -> None:
            for name in ("num_heads", "head_dim", "value_dim"):
                value = getattr(self, name)
                if value is not None and value < 1:
                    raise ConfigError(f"{name} ({value}) must be at least 1")
            if not self.normaliser > 0:
                raise ConfigError(f"normaliser ({self.normaliser}) must be positive")
            if not 0 <= self.dropout < 1:
                raise ConfigError(f"dropout ({self.dropout}) must lie in [0, 1)")
            if self.silu not in ("all", "gate"):
                raise ConfigError(f"silu ({self.silu}) must be all or gate")
            if self.gate not in ("norm_then_gate", "concat"):
                raise ConfigError(f"gate ({self.gate}) must be norm_then_gate or concat")

        @classmethod
        def research(cls, *, num_heads: int, normaliser: float, dropout: float = 0.2) -> HstuLayer.Config:
            """The layer of the public retrieval experiments; there the normaliser is the longest history + 11."""
            return cls(num_heads=num_heads, normaliser=normaliser, dropout=dropout, init_std=0.02)

        @classmethod
        def library(cls, *, num_heads: int, normaliser: float, dropout: float = 0.3) -> HstuLayer.Config:
            """The "STU" layer of the ranking models."""
            return cls(
                num_heads=num_heads,
                normaliser=normaliser,
                dropout=dropout,
                silu="gate",
                scaled=True,
                bias=True,
                affine=True,
                gate="concat",
            )

        def build(self, *, dim: int) -> HstuLayer:
            """Raises: ConfigError if heads take their width from ``dim`` and it is not a multiple of ``num_heads``."""
            if dim % self.num_heads and (self.head_dim is None or self.value_dim is None):
                raise ConfigError(f"dim ({dim}) must be a multiple of num_heads ({self.num_heads})")
            return HstuLayer(self, dim)

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        self.config = config
        head_dim = config.head_dim or dim // config.num_heads
        value_dim = config.value_dim or dim // config.num_heads
        self.normaliser = config.normaliser
        self.scale = head_dim**-0.5 if config.scaled else 1.0
        wide, narrow = config.num_heads * value_dim, config.num_heads * head_dim
        self._widths = [wide, narrow, narrow, wide]
        self.in_norm = nn.LayerNorm(dim, eps=config.eps, elementwise_affine=config.affine)
        self.in_proj = nn.Linear(dim, sum(self._widths), bias=config.bias)
        self.read_norm = nn.LayerNorm(wide, eps=config.eps, elementwise_affine=config.affine)
        self.dropout = nn.Dropout(config.dropout)
        self.out_proj = nn.Linear(3 * wide if config.gate == "concat" else wide, dim)
        if config.init_std is None:
            nn.init.xavier_uniform_(self.in_proj.weight)
        else:
            nn.init.normal_(self.in_proj.weight, std=config.init_std)
        nn.init.xavier_uniform_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)
        self.context = config.context.build(head_dim=head_dim) if config.context else None

    def project(self, x_TD: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """``u [T, H*V]``, ``q [T, H, K]``, ``k [T, H, K]``, ``v [T, H, V]`` of rows that do not see each other here."""
        projected = self.in_proj(self.in_norm(x_TD))
        if self.config.silu == "all":
            projected = F.silu(projected)
        u, q, k, v = projected.split(self._widths, dim=-1)
        if self.config.silu == "gate":
            u = F.silu(u)
        heads = (self.config.num_heads, -1)
        return u, q.unflatten(-1, heads), k.unflatten(-1, heads), v.unflatten(-1, heads)

    def finish(self, attended_THV: Tensor, u_TD: Tensor, x_TD: Tensor) -> Tensor:
        """``[T, D]``: what was read, gated and projected, added to ``x``."""
        read_TD = attended_THV.flatten(1)
        gated_TD = self.read_norm(read_TD) * u_TD
        if self.config.gate == "concat":
            gated_TD = torch.cat([u_TD, read_TD, gated_TD], -1)
        return x_TD + self.out_proj(self.dropout(gated_TD))
