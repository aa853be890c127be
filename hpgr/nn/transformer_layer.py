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
from hpgr.nn.contextual_position import ContextualPosition
from hpgr.nn.feed_forward import FeedForward, FeedForwardKind
from hpgr.nn.newest_rows import NewestRows
from hpgr.nn.norm import NormKind, check_norm, norm_layer
from hpgr.nn.rotary import Rotary
from hpgr.ops.attention import MaskRule, PairBias, attention
from hpgr.ops.candidate_attention import candidate_attention

Attend: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Queries, keys and values ``[T, H, K]`` to what the queries read ``[T, H, K]``."""


class TransformerLayer(nn.Module):
    """``(T, D)`` to ``(T, D)``; what sees what is the caller's rule."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``norm``: before each branch, after each sum, or as released SASRec has it. ``out_proj`` mixes the heads.

        ``dropout`` acts inside the feed-forward part and on what each branch adds; ``residual_dropout``, where given,
        on the latter in its stead. ``gated``: what a branch adds is multiplied by ``σ(W x + b)`` of the row it is added
        to; with ``pre`` only. ``rotary`` turns queries and keys by their places; ``context`` finds places from the scores.
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
        context: ContextualPosition.Config | None = None
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
        self.context = config.context.build(head_dim=dim // config.num_heads) if config.context else None

    def forward(self, x: Jagged, rule: MaskRule, bias: PairBias | None = None) -> Jagged:
        """Rows of ``x`` see what ``rule`` shows them; ``bias`` is added to the scores of each pair."""
        return x.with_values(self.around(x.values, self.attending(x, rule, bias), self.places(x)))

    def around(self, x_TD: Tensor, attend: Attend, place_T: Tensor | None = None) -> Tensor:
        """The layer without its attention: ``attend`` says what rows read. ``place_T`` int64, for rotary positions."""
        query_TD, key_TD = self._sides(x_TD)
        q_THK, k_THK, v_THK = self._projected(query_TD, key_TD)
        if self.config.rotary is not None and place_T is not None:
            q_THK, k_THK = (self.config.rotary.turned(x_THK, place_T) for x_THK in (q_THK, k_THK))
        return self._finished(x_TD, query_TD, attend(q_THK, k_THK, v_THK))

    def attending(self, x: Jagged, rule: MaskRule, bias: PairBias | None = None) -> Attend:
        """Attention of the rows of ``x`` to one another."""

        def attend(q_THK: Tensor, k_THK: Tensor, v_THK: Tensor) -> Tensor:
            return attention(
                q_THK,
                k_THK,
                v_THK,
                x.offsets,
                weights="softmax",
                rule=rule,
                scale=self.scale,
                bias=bias,
                context=self.context,
            )

        return attend

    def places(self, x: Jagged) -> Tensor | None:
        """``[T]``: where rows stand, if the layer asks."""
        return None if self.config.rotary is None else position_in_row(x.offsets, x.values.shape[0])

    def newest(self, x: Jagged, rows: NewestRows, bias: PairBias | None = None) -> Tensor:
        """``[N, D]``: what ``forward`` gives the newest event of each row, which sees all of it. ``bias``: of newest to earlier."""
        query_TD, key_TD = self._sides(x.values)
        query_ND = query_TD[rows.last_N]
        q_NHK, k_THK, v_THK = self._projected(query_ND, key_TD)
        if self.config.rotary is not None:
            place_T = position_in_row(x.offsets, k_THK.shape[0])
            q_NHK = self.config.rotary.turned(q_NHK, place_T[rows.last_N])
            k_THK = self.config.rotary.turned(k_THK, place_T)
        read_NHK = candidate_attention(
            q_NHK,
            k_THK[rows.earlier_E],
            v_THK[rows.earlier_E],
            k_THK[rows.last_N],
            v_THK[rows.last_N],
            rows.earlier_offsets,
            rows.last_offsets,
            weights="softmax",
            scale=self.scale,
            bias=bias,
            context=self.context,
        )
        return self._finished(x.values[rows.last_N], query_ND, read_NHK)

    def _sides(self, x_TD: Tensor) -> tuple[Tensor, Tensor]:
        """What queries and what keys and values are made of."""
        query_TD = x_TD if self.config.norm == "post" else self.attention_norm(x_TD)
        return query_TD, x_TD if self.config.norm == "released" else query_TD

    def _projected(self, query_ND: Tensor, key_TD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        heads = (self.config.num_heads, -1)
        q_NHK, k_THK, v_THK = self.query(query_ND), self.key(key_TD), self.value(key_TD)
        return q_NHK.unflatten(-1, heads), k_THK.unflatten(-1, heads), v_THK.unflatten(-1, heads)

    def _finished(self, x_TD: Tensor, query_TD: Tensor, read_THK: Tensor) -> Tensor:
        """The rows with what they read and what that feeds forward."""
        read_TD = read_THK.flatten(1)
        read_TD = self.dropout(read_TD if self.out is None else self.out(read_TD))
        if self.config.norm == "pre":
            x_TD = x_TD + _through(self.attention_gate, x_TD, read_TD)
            fed_TD = self.dropout(self.feed_forward(self.feed_forward_norm(x_TD)))
            return x_TD + _through(self.feed_forward_gate, x_TD, fed_TD)
        if self.config.norm == "post":
            x_TD = self.attention_norm(x_TD + read_TD)
            return self.feed_forward_norm(x_TD + self.dropout(self.feed_forward(x_TD)))
        x_TD = self.feed_forward_norm(query_TD + read_TD)
        return x_TD + self.dropout(self.feed_forward(x_TD))


def _through(gate: nn.Module | None, x_TD: Tensor, added_TD: Tensor) -> Tensor:
    return added_TD if gate is None else torch.sigmoid(gate(x_TD)) * added_TD
