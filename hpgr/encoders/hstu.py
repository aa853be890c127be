"""HSTU layers in which candidates read the history, densely or through the events they prefer.

Zhai et al., ICML 2024, arXiv:2402.17152 (layer, joint scoring of candidates); Chen et al., WWW 2026, arXiv:2603.00980
(preference-guided sparse attention). Departs: see ``docs/models/hpgr.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from hpgr.core.batch import Candidates, History
from hpgr.core.errors import ConfigError
from hpgr.core.jagged import Jagged
from hpgr.encoders import Signal
from hpgr.encoders.hstu_memory import Memory, longer
from hpgr.nn.hstu_layer import HstuLayer
from hpgr.nn.preference import PreferenceSelector
from hpgr.nn.relative_bias import RelativeBias
from hpgr.nn.session_rows import SessionRows
from hpgr.ops.attention import MaskRule, PairBias, attention
from hpgr.ops.block_attention import block_attention
from hpgr.ops.candidate_attention import candidate_attention
from hpgr.ops.listed_attention import Lists


class HstuEncoder(nn.Module):
    """Candidate states ``[C, D]``; ``forward`` is ``read(remember(...))``, and the memory can be kept between requests."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``selection`` None: candidates read the whole history (dense). ``gate``: how a selection acts on the weights:
        ``multiplicative`` A ⊙ G (unselected events are not read) or ``additive`` A ⊙ (1 + β G), β per head from
        ``beta_start``. ``rows``: None for dense causal history rows, or the session-sparse lists. ``read_history`` False:
        the no-history control."""

        layer: HstuLayer.Config
        num_layers: int = 2
        selection: PreferenceSelector.Config | None = None
        gate: Literal["multiplicative", "additive"] = "additive"
        beta_start: float = 1.0
        rows: SessionRows | None = None
        bias: RelativeBias.Config | None = None
        read_history: bool = True

        def __post_init__(self) -> None:
            if self.num_layers < 1:
                raise ConfigError(f"num_layers ({self.num_layers}) must be at least 1")
            if self.gate not in ("multiplicative", "additive"):
                raise ConfigError(f"gate ({self.gate}) must be multiplicative or additive")
            if self.layer.context is not None and self.rows is not None:
                raise ConfigError(
                    "context of the layer (given) must be None with session-sparse rows, which never hold all scores of an "
                    "event; set rows to None"
                )
            if self.bias is not None and self.rows is not None:
                raise ConfigError(
                    "bias (given) must be None with session-sparse rows; set rows to None or drop the bias"
                )

        def build(self, *, dim: int) -> HstuEncoder:
            return HstuEncoder(self, dim)

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(config.layer.build(dim=dim) for _ in range(config.num_layers))
        self.selector = config.selection.build(dim=dim) if config.selection else None
        self.bias = config.bias.build() if config.bias else None
        additive = config.selection is not None and config.gate == "additive"
        heads = config.layer.num_heads
        self.beta_LH = nn.Parameter(torch.full((config.num_layers, heads), config.beta_start)) if additive else None
        self.norm = nn.LayerNorm(dim)

    def forward(
        self, x: Jagged, x_candidates: Jagged, history: History, candidates: Candidates, signal: Signal
    ) -> Tensor:
        """``[C, D]``."""
        return self.read(self.remember(x, history, signal), x_candidates, history, candidates, signal)

    def remember(self, x: Jagged, history: History, signal: Signal) -> Memory:
        """Run the history rows; they never depend on candidates."""
        keys, values = [], []
        blocks = None
        if self.config.rows is not None:
            blocks = self.config.rows.blocks(signal.history_TD, history.user_offsets, history.session_offsets)
        bias = self.bias.between(history.time_ms, history.time_ms, None) if self.bias is not None else None
        for depth, layer in enumerate(self._stack()):
            u, q, k, v = layer.project(x.values)
            keys.append(k)
            values.append(v)
            if depth + 1 == self.config.num_layers:
                break
            if blocks is None:
                rule = MaskRule(causal=True)
                read = attention(
                    q,
                    k,
                    v,
                    x.offsets,
                    weights="silu",
                    rule=rule,
                    normaliser=layer.normaliser,
                    scale=layer.scale,
                    bias=bias,
                    context=layer.context,
                )
            else:
                lists = blocks.rows_PW, blocks.visible_NW
                read = block_attention(
                    q, k, v, blocks.offsets_P1, lists, normaliser=layer.normaliser, scale=layer.scale
                )
            x = x.with_values(layer.finish(read, u, x.values))
        return Memory(tuple(keys), tuple(values))

    def extend(self, memory: Memory, x_1D: Tensor, history: History, signal: Signal) -> Memory:
        """The memory of one user's ``history``, from the memory without its newest event and that event's token."""
        at = history.num_events - 1
        before, one = history.user_offsets.new_tensor([0, at]), history.user_offsets.new_tensor([0, 1])
        listed = bias = None
        if self.config.rows is not None:
            rows_1W, gate_1W = self.config.rows.newest(signal.history_TD, history.session_offsets)
            # The event itself is read as a candidate reads itself, in its own column.
            listed = rows_1W.masked_fill(rows_1W == at, -1), gate_1W.masked_fill(rows_1W == at, 0.0)
        if self.bias is not None:
            bias = self.bias.between(history.time_ms[at:], history.time_ms[:at], before[1:])
        keys, values = [], []
        for depth, (layer, old_k, old_v) in enumerate(zip(self._stack(), memory.keys, memory.values)):
            u, q, k, v = layer.project(x_1D)
            keys.append(longer(old_k, k))
            values.append(longer(old_v, v))
            if depth + 1 < self.config.num_layers:
                read = candidate_attention(
                    q,
                    old_k,
                    old_v,
                    k,
                    v,
                    before,
                    one,
                    weights="silu",
                    normaliser=layer.normaliser,
                    scale=layer.scale,
                    bias=bias,
                    context=layer.context,
                    listed=listed,
                )
                x_1D = layer.finish(read, u, x_1D)
        return Memory(tuple(keys), tuple(values))

    def read(
        self, memory: Memory, x_candidates: Jagged, history: History, candidates: Candidates, signal: Signal
    ) -> Tensor:
        """Run the candidate rows against a remembered history: ``[C, D]``."""
        x_CD = x_candidates.values
        rows, bias = self.selected(history, candidates, signal), self._candidate_bias(history, candidates)
        for depth, layer in enumerate(self._stack()):
            u, q, k, v = layer.project(x_CD)
            attended = self._read_layer(
                depth, (q, k, v), memory, (history.user_offsets, candidates.offsets), (rows, bias)
            )
            x_CD = layer.finish(attended, u, x_CD)
        return self.norm(x_CD)

    def selected(self, history: History, candidates: Candidates, signal: Signal) -> tuple[Tensor, Tensor] | None:
        """``(rows_CW, gate_CW)``: the history events each candidate prefers and their weights; None when dense."""
        if self.selector is None:
            return None
        chosen = self.selector(
            signal.candidates_CD,
            signal.history_TD,
            history.user_offsets,
            candidates.offsets,
            cold_C=signal.cold_C,
            session_T=history.session_of_event(),
        )
        return Lists(chosen)

    def _read_layer(
        self,
        depth: int,
        own: tuple[Tensor, Tensor, Tensor],
        memory: Memory,
        offsets: tuple[Tensor, Tensor],
        reading: tuple[tuple[Tensor, Tensor] | None, PairBias | None],
    ) -> Tensor:
        (q, k, v), (rows, bias), layer = own, reading, self._stack()[depth]
        listed = boost = None
        if not self.config.read_history:
            nothing = torch.full((q.shape[0], 1), -1, device=q.device)
            listed = nothing, nothing.to(q.dtype)
        elif rows is not None and self.beta_LH is None:
            listed = rows
        elif rows is not None and self.beta_LH is not None:
            boost = (*rows, self.beta_LH[depth])
        return candidate_attention(
            q,
            memory.keys[depth],
            memory.values[depth],
            k,
            v,
            *offsets,
            weights="silu",
            normaliser=layer.normaliser,
            scale=layer.scale,
            bias=bias,
            context=layer.context,
            listed=listed,
            boost=boost,
        )

    def _stack(self) -> list[HstuLayer]:
        return [layer for layer in self.layers if isinstance(layer, HstuLayer)]

    def _candidate_bias(self, history: History, candidates: Candidates) -> PairBias | None:
        if self.bias is None:
            return None
        stands_after = history.user_offsets[1:][candidates.user_of_candidate()]
        return self.bias.between(candidates.time_ms, history.time_ms, stands_after)
