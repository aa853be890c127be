"""Selective state-space layers that read rows forwards and partly flipped, with gates and a short branch.

Liu et al., AAAI 2025, arXiv:2408.11451. Departs: see ``docs/models/sigma.md``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from hpgr.core.batch import History
from hpgr.core.errors import ConfigError
from hpgr.core.jagged import Jagged
from hpgr.nn.feed_forward import FeedForward
from hpgr.nn.partial_flip import PartialFlip
from hpgr.nn.selective_gate import SelectiveGate
from hpgr.nn.selective_layer import SelectiveLayer
from hpgr.nn.short_branch import ShortBranch
from hpgr.nn.truncated_normal import check_std, draw_linears

# Shares of the forward, the flipped and the short stream at the start.
_SHARES = (0.8, 0.1, 0.1)


class SigmaEncoder(nn.Module):
    """``(T, D)`` to ``(T, D)``: with a flip or a short branch only the last state of a row may be asked."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``flip``, ``gate`` and ``short`` None: without that part; without all three it is a stack of plain selective layers
        (Mamba4Rec), which are causal. ``dropout`` acts on the input and on what each part gives. One layer has no
        residual, more have. ``init_std`` None: each linear layer's own start."""

        layer: SelectiveLayer.Config = field(default_factory=SelectiveLayer.Config)
        num_layers: int = 1
        flip: PartialFlip | None = field(default_factory=PartialFlip)
        gate: SelectiveGate.Config | None = field(default_factory=SelectiveGate.Config)
        short: ShortBranch.Config | None = field(default_factory=ShortBranch.Config)
        dropout: float = 0.2
        init_std: float | None = 0.02
        eps: float = 1e-12

        def __post_init__(self) -> None:
            if self.num_layers < 1:
                raise ConfigError(f"num_layers ({self.num_layers}) must be at least 1")
            if not 0 <= self.dropout < 1:
                raise ConfigError(f"dropout ({self.dropout}) must lie in [0, 1)")
            check_std(self.init_std)

        @property
        def causal(self) -> bool:
            """Whether a state knows nothing of later events: the flip and the short branch's convolution look ahead."""
            return self.flip is None and self.short is None

        def build(self, *, dim: int) -> SigmaEncoder:
            return SigmaEncoder(self, dim)

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        self.dropout = nn.Dropout(config.dropout)
        self.norm = nn.LayerNorm(dim, eps=config.eps)
        self.layers = nn.ModuleList(SigmaLayer(config, dim) for _ in range(config.num_layers))
        draw_linears(self, config.init_std)

    def forward(self, x: Jagged, history: History) -> Jagged:
        """``(T, D)`` to ``(T, D)``."""
        x_TD = self.norm(self.dropout(x.values))
        for layer in self.layers:
            x_TD = layer(x_TD, x.offsets)
        return x.with_values(x_TD)


class SigmaLayer(nn.Module):
    """The streams and their mixture, then a feed-forward part; normed sums."""

    def __init__(self, config: SigmaEncoder.Config, dim: int) -> None:
        super().__init__()
        self.flip, self.residual = config.flip, config.num_layers > 1
        self.selective = config.layer.build(dim=dim)
        num_streams = 1 if config.flip is None else 2
        self.gate = config.gate.build(dim=dim, num_streams=num_streams) if config.gate else None
        self.short = config.short.build(dim=dim) if config.short else None
        # One stream needs no shares.
        mixed = not config.causal
        self.shares = nn.Parameter(torch.tensor(_SHARES)) if mixed else None
        self.mix = nn.Linear(dim, dim) if mixed else None
        self.mixed_norm, self.fed_norm = (nn.LayerNorm(dim, eps=config.eps) for _ in range(2))
        self.feed_forward = FeedForward.Config(hidden_dim=4 * dim, dropout=config.dropout).build(dim=dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_TD: Tensor, offsets: Tensor) -> Tensor:
        """``[T, D]``."""
        mixed_TD = self.dropout(self._mixed(x_TD, offsets))
        x_TD = self.mixed_norm(mixed_TD + x_TD if self.residual else mixed_TD)
        return self.fed_norm(x_TD + self.dropout(self.feed_forward(x_TD)))

    def _mixed(self, x_TD: Tensor, offsets: Tensor) -> Tensor:
        streams = [x_TD]
        if self.flip is not None:
            # Not turned back: only the newest events, which stand in both streams, are of one event.
            streams.append(x_TD[self.flip.order(offsets, x_TD.shape[0])])
        read = [self.selective(stream, offsets) for stream in streams]
        if self.gate is not None:
            read = [one * gate + one for one, gate in zip(read, self.gate(*streams))]
        if self.shares is None or self.mix is None:
            return read[0]
        forward, flipped, short = self.shares
        total_TD = forward * read[0]
        if self.flip is not None:
            total_TD = total_TD + flipped * read[1]
        if self.short is not None:
            total_TD = total_TD + short * self.short(x_TD, offsets)
        return self.mix(total_TD)
