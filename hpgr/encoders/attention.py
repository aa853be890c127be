"""A stack of Transformer layers over each user's events. Vaswani et al., NeurIPS 2017, arXiv:1706.03762."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from hpgr.core.batch import History
from hpgr.core.errors import ConfigError
from hpgr.core.jagged import Jagged
from hpgr.encoders.chains import Chains
from hpgr.encoders.hstu_memory import Memory
from hpgr.nn.newest_rows import NewestRows
from hpgr.nn.norm import norm_layer
from hpgr.nn.position import TimeAwarePosition
from hpgr.nn.relative_bias import RelativeBias
from hpgr.nn.transformer_layer import Attend, TransformerLayer
from hpgr.nn.truncated_normal import check_std, draw_linears
from hpgr.ops.attention import MaskRule


class AttentionEncoder(nn.Module):
    """Causal (each event sees itself and what came before) or bidirectional; a final norm."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``position`` None where the tokens already carry their place. ``bias``: a learned bias for how far apart two events
        stand, in places and time, shared by the layers. ``dropout`` acts on the input, after ``input_norm``; ``final_norm``
        is not needed where layers norm their sums. ``init_std`` None: each linear layer's own start."""

        layer: TransformerLayer.Config
        num_layers: int = 2
        causal: bool = True
        position: TimeAwarePosition.Config | None = None
        bias: RelativeBias.Config | None = None
        dropout: float = 0.0
        input_norm: bool = False
        final_norm: bool = True
        init_std: float | None = None

        def __post_init__(self) -> None:
            if self.num_layers < 1:
                raise ConfigError(f"num_layers ({self.num_layers}) must be at least 1")
            if not 0 <= self.dropout < 1:
                raise ConfigError(f"dropout ({self.dropout}) must lie in [0, 1)")
            check_std(self.init_std)

        def build(self, *, dim: int) -> AttentionEncoder:
            return AttentionEncoder(self, dim)

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        self.position = config.position.build(dim=dim) if config.position else None
        self.bias = config.bias.build() if config.bias else None
        self.layers = nn.ModuleList(config.layer.build(dim=dim) for _ in range(config.num_layers))
        kind = config.layer.norm_kind
        self.norm = norm_layer(kind, dim, eps=config.layer.eps) if config.final_norm else nn.Identity()
        self.input_norm = norm_layer(kind, dim, eps=config.layer.eps) if config.input_norm else nn.Identity()
        self.dropout = nn.Dropout(config.dropout)
        self.rule = MaskRule(causal=config.causal)
        draw_linears(self, config.init_std)

    def forward(self, x: Jagged, history: History) -> Jagged:
        """``(T, D)`` to ``(T, D)``."""
        states = self._below(x, history, len(self.layers))
        return states.with_values(self.norm(states.values))

    def newest(self, x: Jagged, history: History) -> Tensor:
        """``[N, D]``: the states of the newest event of each user that has any; the last layer runs for no other."""
        states, rows = self._below(x, history, len(self.layers) - 1), NewestRows.of(x.offsets)
        bias = None
        if self.bias is not None:
            earlier_ms = history.time_ms[rows.earlier_E]
            # A query stands right after what it reads.
            at_N = rows.earlier_offsets[1:][rows.last_offsets.diff() > 0]
            bias = self.bias.between(history.time_ms[rows.last_N], earlier_ms, at_N)
        last = self.layers[-1]
        assert isinstance(last, TransformerLayer)
        newest_ND: Tensor = self.norm(last.newest(states, rows, bias))
        return newest_ND

    def begin(self, x: Jagged, history: History, after_N: Tensor) -> tuple[Jagged, Chains]:
        """As ``FollowedEncoder.begin``; keys and values of every layer are kept."""
        kept: list[tuple[Tensor, Tensor]] = []
        states = self._below(x, history, len(self.layers), kept)
        memory = Memory(tuple(k for k, _ in kept), tuple(v for _, v in kept))
        return states.with_values(self.norm(states.values)), Chains.after(
            memory, history, after_N, history.time_ms, causal=self.rule.causal
        )

    def follow(self, chains: Chains, x_ND: Tensor) -> tuple[Tensor, Chains]:
        """As ``FollowedEncoder.follow``; a token gets no position but what ``rotary`` and ``bias`` tell."""
        values, own = self.dropout(self.input_norm(x_ND)), []
        bias, place_N = chains.bias(self.bias), chains.places()
        for depth, layer in enumerate(self._stack()):

            def attend(q: Tensor, k: Tensor, v: Tensor, at: int = depth, scale: float = layer.scale) -> Tensor:
                read, grown = chains.read(at, (q, k, v), bias, weights="softmax", scale=scale)
                own.append(grown)
                return read

            values = layer.around(values, attend, place_N)
        return self.norm(values), chains.longer(own)

    def why_not_followed(self) -> str | None:
        """Places that come from scores, and queries of several rows: a token would have to be told of others in its chain."""
        for name in ("context", "query_source"):
            if any(getattr(layer.config, name) is not None for layer in self._stack()):
                return f"{name} of its layer is given; set it to None"
        return None

    def _below(
        self, x: Jagged, history: History, depth: int, kept: list[tuple[Tensor, Tensor]] | None = None
    ) -> Jagged:
        """After the first ``depth`` layers, whose keys and values ``kept`` takes."""
        values = x.values
        if self.position is not None:
            values = values + self.position.for_history(history.user_offsets, history.time_ms, history.now_ms)
        states = x.with_values(self.dropout(self.input_norm(values)))
        bias = self.bias.between(history.time_ms, history.time_ms, None) if self.bias is not None else None
        for layer in self._stack()[:depth]:
            attend = layer.attending(states, self.rule, bias)
            attend = attend if kept is None else _keeping(kept, attend)
            states = states.with_values(layer.around(states.values, attend, layer.places(states), layer.asking(states)))
        return states

    def _stack(self) -> list[TransformerLayer]:
        return [layer for layer in self.layers if isinstance(layer, TransformerLayer)]


def _keeping(kept: list[tuple[Tensor, Tensor]], attend: Attend) -> Attend:
    def keep(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        kept.append((k, v))
        return attend(q, k, v)

    return keep
