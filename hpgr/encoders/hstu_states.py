"""HSTU layers over each user's events, for retrieval. Zhai et al., ICML 2024, arXiv:2402.17152."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, TypedDict

import torch
from torch import Tensor, nn

from hpgr.core.batch import History
from hpgr.core.errors import ConfigError
from hpgr.core.jagged import Jagged
from hpgr.encoders.chains import Chains
from hpgr.encoders.hstu_memory import Memory
from hpgr.nn.hstu_layer import HstuLayer
from hpgr.nn.position import TimeAwarePosition
from hpgr.nn.relative_bias import BatchBias, RelativeBias
from hpgr.ops.attention import MaskRule, attention


class _How(TypedDict):
    weights: Literal["silu", "softmax"]
    normaliser: float | None
    scale: float


class HstuStates(nn.Module):
    """Causal states ``(T, D)``; every event sees itself and what came before.

    The one look ahead is a time: a query may stand at the moment of the event to be predicted, now for the newest one.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``weights``: pointwise ``silu`` divided by the layer's normaliser, or ``softmax``. ``bias``: for how far apart two
        events stand; each layer learns its own. ``query_time``: the bias takes the time of the event to be predicted
        (``next``; honest where requests come at that moment) or the query's ``own``. ``dropout`` acts on the input."""

        causal: ClassVar[bool] = True

        layer: HstuLayer.Config
        num_layers: int = 2
        position: TimeAwarePosition.Config | None = None
        bias: RelativeBias.Config | None = None
        query_time: Literal["next", "own"] = "next"
        weights: Literal["silu", "softmax"] = "silu"
        dropout: float = 0.0

        def __post_init__(self) -> None:
            if self.num_layers < 1:
                raise ConfigError(f"num_layers ({self.num_layers}) must be at least 1")
            if self.query_time not in ("next", "own"):
                raise ConfigError(f"query_time ({self.query_time}) must be next or own")
            if self.weights not in ("silu", "softmax"):
                raise ConfigError(f"weights ({self.weights}) must be silu or softmax")
            if not 0 <= self.dropout < 1:
                raise ConfigError(f"dropout ({self.dropout}) must lie in [0, 1)")

        def build(self, *, dim: int) -> HstuStates:
            return HstuStates(self, dim)

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        self.config = config
        self.position = config.position.build(dim=dim) if config.position else None
        self.layers = nn.ModuleList(config.layer.build(dim=dim) for _ in range(config.num_layers))
        self.biases = nn.ModuleList(config.bias.build() for _ in self.layers) if config.bias else None
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Jagged, history: History) -> Jagged:
        """``(T, D)`` to ``(T, D)``."""
        return self._run(x, history, None)

    def begin(self, x: Jagged, history: History, after_N: Tensor) -> tuple[Jagged, Chains]:
        """As ``FollowedEncoder.begin``; keys and values of every layer are kept."""
        kept: list[tuple[Tensor, Tensor]] = []
        states = self._run(x, history, kept)
        memory = Memory(tuple(k for k, _ in kept), tuple(v for _, v in kept))
        return states, Chains.after(memory, history, after_N, self._asked_ms(history), causal=True)

    def follow(self, chains: Chains, x_ND: Tensor) -> tuple[Tensor, Chains]:
        """As ``FollowedEncoder.follow``: a token asks at the moment that its event asks at."""
        values, own = self.dropout(x_ND), []
        for depth in range(self.config.num_layers):
            layer = self._layer(depth)
            u, *qkv = layer.project(values)
            bias = chains.bias(self._table(depth))
            read, grown = chains.read(depth, (qkv[0], qkv[1], qkv[2]), bias, **self._weighing(layer, qkv[0]))
            own.append(grown)
            values = layer.finish(read, u, values)
        return values, chains.longer(own)

    def why_not_followed(self) -> str | None:
        """Places that come from scores, for a token's scores would have to be told to the places of its chain."""
        given = any(layer.context is not None for layer in self.layers)
        return "context of its layer is given; set it to None" if given else None

    def _run(self, x: Jagged, history: History, kept: list[tuple[Tensor, Tensor]] | None) -> Jagged:
        values = x.values
        if self.position is not None:
            values = values + self.position.for_history(history.user_offsets, history.time_ms, history.now_ms)
        values = self.dropout(values)
        asked_ms = self._asked_ms(history)
        bias: BatchBias | None = None
        for depth in range(self.config.num_layers):
            table, layer = self._table(depth), self._layer(depth)
            if table is not None:
                bias = table.on(bias) if bias is not None else table.between(asked_ms, history.time_ms, None)
            u, q, k, v = layer.project(values)
            if kept is not None:
                kept.append((k, v))
            rule, how = MaskRule(causal=True), self._weighing(layer, q)
            values = layer.finish(
                attention(q, k, v, x.offsets, rule=rule, bias=bias, context=layer.context, **how), u, values
            )
        return x.with_values(values)

    def _asked_ms(self, history: History) -> Tensor:
        return next_time_ms(history) if self.config.query_time == "next" else history.time_ms

    def _layer(self, depth: int) -> HstuLayer:
        layer = self.layers[depth]
        assert isinstance(layer, HstuLayer)
        return layer

    def _table(self, depth: int) -> RelativeBias | None:
        table = None if self.biases is None else self.biases[depth]
        assert table is None or isinstance(table, RelativeBias)
        return table

    def _weighing(self, layer: HstuLayer, q_THK: Tensor) -> _How:
        if self.config.weights == "silu":
            return {"weights": "silu", "normaliser": layer.normaliser, "scale": layer.scale}
        return {"weights": "softmax", "normaliser": None, "scale": q_THK.shape[-1] ** -0.5}


def next_time_ms(history: History) -> Tensor:
    """``[T]`` int64: when the event that follows each one came; ``now_ms`` after a user's newest."""
    user_T, event_T = history.user_of_event(), torch.arange(history.num_events, device=history.time_ms.device)
    following_T = torch.cat([history.time_ms[1:], history.time_ms[:1]])
    return torch.where(event_T == history.user_offsets[1:][user_T] - 1, history.now_ms[user_T], following_T)
