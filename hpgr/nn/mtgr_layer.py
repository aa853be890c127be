"""One MTGR layer without its attention, so that history and candidates share weights and read differently.

Han et al., CIKM 2025, arXiv:2505.18654. Unlike an HSTU layer it norms after the gate, by the token's domain, and what was
read passes an MLP. Departs: see ``docs/models/mtgr.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hpgr.core.errors import ConfigError
from hpgr.nn.feed_forward import FeedForward
from hpgr.nn.group_norm import GroupLayerNorm


class MtgrLayer(nn.Module):
    """``project`` → an attention op with ``normaliser`` → ``finish``: ``X + MLP(GroupNorm(V ⊙ U))``."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``normaliser``: the constant that divides silu weights; it never comes from a batch. ``grouped`` False: one gain
        and shift for all domains, the control. ``dropout`` acts on what the layer adds."""

        mlp: FeedForward.Config
        num_heads: int = 2
        normaliser: float = 200.0
        grouped: bool = True
        dropout: float = 0.0
        eps: float = 1e-6

        def __post_init__(self) -> None:
            if self.num_heads < 1:
                raise ConfigError(f"num_heads ({self.num_heads}) must be at least 1")
            if not self.normaliser > 0:
                raise ConfigError(f"normaliser ({self.normaliser}) must be positive")
            if not 0 <= self.dropout < 1:
                raise ConfigError(f"dropout ({self.dropout}) must lie in [0, 1)")

        def build(self, *, dim: int, num_domains: int) -> MtgrLayer:
            """Raises: ConfigError if ``dim`` is not a multiple of ``num_heads``."""
            if dim % self.num_heads:
                raise ConfigError(f"dim ({dim}) must be a multiple of num_heads ({self.num_heads})")
            return MtgrLayer(self, dim, num_domains)

    def __init__(self, config: Config, dim: int, num_domains: int) -> None:
        super().__init__()
        self.config = config
        self.normaliser = config.normaliser
        num_groups = num_domains if config.grouped else 1
        self.in_norm = GroupLayerNorm(num_groups, dim, eps=config.eps)
        self.in_proj = nn.Linear(dim, 4 * dim, bias=False)
        self.read_norm = GroupLayerNorm(num_groups, dim, eps=config.eps)
        self.mlp = config.mlp.build(dim=dim)
        self.dropout = nn.Dropout(config.dropout)
        nn.init.xavier_uniform_(self.in_proj.weight)

    def project(self, x_TD: Tensor, domain_T: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """``u [T, D]``, ``q``, ``k`` and ``v [T, H, K]`` of rows that do not see each other here."""
        normed_TD = self.in_norm(x_TD, self._group(domain_T))
        u, q, k, v = F.silu(self.in_proj(normed_TD)).chunk(4, dim=-1)
        heads = (self.config.num_heads, -1)
        return u, q.unflatten(-1, heads), k.unflatten(-1, heads), v.unflatten(-1, heads)

    def finish(self, attended_THK: Tensor, u_TD: Tensor, x_TD: Tensor, domain_T: Tensor) -> Tensor:
        """``[T, D]``: what was read, gated, normed and through the MLP, added to ``x``."""
        gated_TD = self.read_norm(attended_THK.flatten(1) * u_TD, self._group(domain_T))
        return x_TD + self.dropout(self.mlp(gated_TD))

    def _group(self, domain_T: Tensor) -> Tensor:
        return domain_T if self.config.grouped else torch.zeros_like(domain_T)
