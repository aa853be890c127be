"""One Transformer layer over jagged rows, with three placements of the norm.

Vaswani et al., NeurIPS 2017, arXiv:1706.03762 (``post``); ``pre``: Xiong et al., ICML 2020, arXiv:2002.04745;
``released``: the published code of Kang & McAuley, ICDM 2018, arXiv:1808.09781, whose residual is the normed query and
which has no output projection; ``gated``: Borisyuk et al., 2025, arXiv:2502.03417 (LiGR). Departs: no dropout on
attention weights; it acts on what attention has read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from hpgr.core.errors import ConfigError
from hpgr.core.jagged import Jagged, position_in_row
from hpgr.nn.feed_forward import FeedForward, FeedForwardKind
from hpgr.nn.norm import NormKind, check_norm, norm_layer
from hpgr.nn.rotary import Rotary
from hpgr.ops.attention import MaskRule, PairBias, attention

Attend: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Queries, keys and values ``[T, H, K]`` to what the queries read ``[T, H, K]``."""


class TransformerLayer(nn.Module):
    """``(T, D)`` to ``(T, D)``; what sees what is the caller's rule."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``norm``: before each branch, after each sum, or as released SASRec has it. ``out_proj`` mixes the heads.

        ``dropout`` acts inside the feed-forward part and on what each branch adds; ``residual_dropout``, where given,
        on the latter in its stead. ``gated``: what a branch adds is multiplied by ``σ(W x + b)`` of the row it is added
        to; with ``pre`` only. ``rotary`` turns queries and keys by their places.
        """

        ffn_dim: int
        num_heads: int = 1
        norm: Literal["pre", "post", "released"] = "pre"
        norm_kind: NormKind = "layer"
        act: FeedForwardKind = "gelu"
        dropout: float = 0.0
        residual_dropout: float | None = None
        out_proj: bool = True
        gated: bool = False
        rotary: Rotary | None = None
        eps: float = 1e-8

        def __post_init__(self) -> None:
            if self.num_heads < 1:
                raise ConfigError(f"num_heads ({self.num_heads}) must be at least 1")
            if self.norm not in ("pre", "post", "released"):
                raise ConfigError(f"norm ({self.norm}) must be pre, post or released")
            if self.gated and self.norm != "pre":
                raise ConfigError(f"gated (True) must be False where norm is {self.norm}; gates go with pre")
            if self.residual_dropout is not None and not 0 <= self.residual_dropout < 1:
                raise ConfigError(f"residual_dropout ({self.residual_dropout}) must lie in [0, 1), or None for dropout")
            check_norm(self.norm_kind)
            self.feed_forward()

        def feed_forward(self) -> FeedForward.Config:
            return FeedForward.Config(hidden_dim=self.ffn_dim, act=self.act, dropout=self.dropout)

        def build(self, *, dim: int) -> TransformerLayer:
            """Raises: ConfigError if ``dim`` is not a multiple of ``num_heads``, or heads are odd with ``rotary``."""
            if dim % self.num_heads:
                raise ConfigError(f"dim ({dim}) must be a multiple of num_heads ({self.num_heads})")
            if self.rotary is not None:
                self.rotary.check(dim // self.num_heads)
            return TransformerLayer(self, dim)

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        self.config = config
        self.scale = (dim // config.num_heads) ** -0.5
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))
        self.out = nn.Linear(dim, dim) if config.out_proj else None
        self.attention_norm = norm_layer(config.norm_kind, dim, eps=config.eps)
        self.feed_forward_norm = norm_layer(config.norm_kind, dim, eps=config.eps)
        self.feed_forward = config.feed_forward().build(dim=dim)
        self.dropout = nn.Dropout(config.dropout if config.residual_dropout is None else config.residual_dropout)
        self.attention_gate = nn.Linear(dim, dim) if config.gated else None
        self.feed_forward_gate = nn.Linear(dim, dim) if config.gated else None

    def forward(self, x: Jagged, rule: MaskRule, bias: PairBias | None = None) -> Jagged:
        """Rows of ``x`` see what ``rule`` shows them; ``bias`` is added to the scores of each pair."""
        return x.with_values(self.around(x.values, self.attending(x, rule, bias), self.places(x)))

    def around(self, x_TD: Tensor, attend: Attend, place_T: Tensor | None = None) -> Tensor:
        """The layer without its attention: ``attend`` says what rows read. ``place_T`` int64, for rotary positions."""
        if self.config.norm == "pre":
            normed_TD = self.attention_norm(x_TD)
            x_TD = x_TD + _through(self.attention_gate, x_TD, self._read(normed_TD, normed_TD, attend, place_T))
            fed_TD = self.dropout(self.feed_forward(self.feed_forward_norm(x_TD)))
            return x_TD + _through(self.feed_forward_gate, x_TD, fed_TD)
        if self.config.norm == "post":
            x_TD = self.attention_norm(x_TD + self._read(x_TD, x_TD, attend, place_T))
            return self.feed_forward_norm(x_TD + self.dropout(self.feed_forward(x_TD)))
        normed_TD = self.attention_norm(x_TD)
        x_TD = self.feed_forward_norm(normed_TD + self._read(normed_TD, x_TD, attend, place_T))
        return x_TD + self.dropout(self.feed_forward(x_TD))

    def attending(self, x: Jagged, rule: MaskRule, bias: PairBias | None = None) -> Attend:
        """Attention of the rows of ``x`` to one another."""

        def attend(q_THK: Tensor, k_THK: Tensor, v_THK: Tensor) -> Tensor:
            return attention(q_THK, k_THK, v_THK, x.offsets, weights="softmax", rule=rule, scale=self.scale, bias=bias)

        return attend

    def places(self, x: Jagged) -> Tensor | None:
        """``[T]``: where rows stand, if the layer asks."""
        return None if self.config.rotary is None else position_in_row(x.offsets, x.values.shape[0])

    def _read(self, query_TD: Tensor, key_TD: Tensor, attend: Attend, place_T: Tensor | None) -> Tensor:
        heads = (self.config.num_heads, -1)
        q_THK = self.query(query_TD).unflatten(-1, heads)
        k_THK, v_THK = self.key(key_TD).unflatten(-1, heads), self.value(key_TD).unflatten(-1, heads)
        if self.config.rotary is not None and place_T is not None:
            q_THK, k_THK = (self.config.rotary.turned(x_THK, place_T) for x_THK in (q_THK, k_THK))
        read_TD = attend(q_THK, k_THK, v_THK).flatten(1)
        return self.dropout(read_TD if self.out is None else self.out(read_TD))


def _through(gate: nn.Module | None, x_TD: Tensor, added_TD: Tensor) -> Tensor:
    return added_TD if gate is None else torch.sigmoid(gate(x_TD)) * added_TD
