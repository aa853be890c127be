"""MTGR: tokens of four domains under a mask that knows times; candidates read what was there before them.

Han et al., CIKM 2025, arXiv:2505.18654. Departs: see ``docs/models/mtgr.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from hpgr.core.batch import Candidates, History
from hpgr.core.errors import ConfigError, DataError
from hpgr.core.jagged import Jagged, shapes_are_fixed
from hpgr.encoders import Signal
from hpgr.encoders.mtgr_tokens import ALWAYS, Domain, Packing
from hpgr.nn.mtgr_layer import MtgrLayer
from hpgr.nn.request_tokens import RequestTokens
from hpgr.ops.attention import MaskRule, attention
from hpgr.ops.candidate_attention import candidate_attention


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """A history as candidates read it: where its tokens stand, keys and values ``[T, H, K]`` of every layer."""

    packing: Packing
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]


class MtgrEncoder(nn.Module):
    """Candidate states ``[C, D]``; ``forward`` is ``read(remember(...))``, and the memory can be kept between requests.

    Static tokens (the request's, long-term events) read each other in both directions. A real-time event or a candidate
    reads them, the real-time events strictly before its own time, and itself.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``window_s``: events this close to ``now_ms`` are real-time. ``request`` None: no request tokens.
        ``dynamic_mask`` False: all events are read by all, whatever the times; the control that leaks."""

        layer: MtgrLayer.Config
        num_layers: int = 3
        window_s: float = 86_400.0
        request: RequestTokens.Config | None = field(default_factory=RequestTokens.Config)
        dynamic_mask: bool = True

        def __post_init__(self) -> None:
            if self.num_layers < 1:
                raise ConfigError(f"num_layers ({self.num_layers}) must be at least 1")
            if not self.window_s >= 0:
                raise ConfigError(f"window_s ({self.window_s}) must not be negative")

        @property
        def causal(self) -> bool:
            """False: long-term events read later long-term ones, so nothing may be asked from before the window."""
            return False

        def build(self, *, dim: int) -> MtgrEncoder:
            return MtgrEncoder(self, dim)

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(
            config.layer.build(dim=dim, num_domains=len(Domain)) for _ in range(config.num_layers)
        )
        self.request = config.request.build(dim=dim) if config.request else None
        self.norm = nn.LayerNorm(dim)

    def forward(
        self, x: Jagged, x_candidates: Jagged, history: History, candidates: Candidates, signal: Signal
    ) -> Tensor:
        """``[C, D]``.

        Raises: DataError, as ``read``.
        """
        return self.read(self.remember(x, history, signal), x_candidates, history, candidates, signal)

    def remember(self, x: Jagged, history: History, signal: Signal) -> Memory:
        """Run the rows of requests and events; they never depend on candidates."""
        tokens_TD, packing = self._packed(x, history)
        keys, values = [], []
        for depth, layer in enumerate(self._stack()):
            u, q, k, v = layer.project(tokens_TD, packing.domain_T)
            keys.append(k)
            values.append(v)
            if depth + 1 < self.config.num_layers:
                read = _read_history(layer, (q, k, v), packing)
                tokens_TD = layer.finish(read, u, tokens_TD, packing.domain_T)
        return Memory(packing, tuple(keys), tuple(values))

    def read(
        self, memory: Memory, x_candidates: Jagged, history: History, candidates: Candidates, signal: Signal
    ) -> Tensor:
        """Run the candidate rows against a remembered history: ``[C, D]``.

        Raises: DataError for a candidate from before the real-time window: what it read could have come after it.
        """
        if not shapes_are_fixed():
            self._check_times(history, candidates)
        x_CD = x_candidates.values
        domain_C = torch.full_like(candidates.time_ms, int(Domain.CANDIDATE))
        for layer, *kept in zip(self._stack(), memory.keys, memory.values):
            u, *own = layer.project(x_CD, domain_C)
            attended = _read_earlier(layer, own, kept, memory.packing, (candidates.offsets, candidates.time_ms))
            x_CD = layer.finish(attended, u, x_CD, domain_C)
        return self.norm(x_CD)

    def why_not_kept(self) -> str:
        """Why its memory serves one request: the tokens of a request, and what is real-time in it, belong to its moment."""
        return "its request tokens and its real-time window belong to one moment, and long-term events read later ones"

    def _packed(self, x: Jagged, history: History) -> tuple[Tensor, Packing]:
        num_request = 0 if self.request is None else self.request.NUM_TOKENS
        packing = Packing.of(history, num_request, self._window_starts(history), timed=self.config.dynamic_mask)
        tokens_TD = x.values.new_zeros(packing.domain_T.shape[0], x.values.shape[1])
        tokens_TD = tokens_TD.index_copy(0, packing.event_rows, x.values)
        if self.request is None:
            return tokens_TD, packing
        # Real-time events are not counted: a candidate must not learn how many come after it.
        asked_BND = self.request(history.now_ms, packing.counts(Domain.LONG_TERM))
        asked_ND = asked_BND.flatten(0, 1).to(tokens_TD.dtype)
        return tokens_TD.index_copy(0, packing.request_rows, asked_ND), packing

    def _window_starts(self, history: History) -> Tensor:
        return history.now_ms - round(1000 * self.config.window_s)

    def _check_times(self, history: History, candidates: Candidates) -> None:
        starts_C = self._window_starts(history)[candidates.user_of_candidate()]
        early_C = candidates.time_ms < starts_C
        if self.config.dynamic_mask and bool(early_C.any()):
            first = int(early_C.nonzero()[0])
            raise DataError(
                f"candidate time_ms ({int(candidates.time_ms[first])}) must not lie before the real-time window, which "
                f"begins at {int(starts_C[first])}; widen window_s"
            )

    def _stack(self) -> list[MtgrLayer]:
        return [layer for layer in self.layers if isinstance(layer, MtgrLayer)]


def _read_history(layer: MtgrLayer, own: tuple[Tensor, Tensor, Tensor], packing: Packing) -> Tensor:
    """``[T, H, K]``: static tokens read static ones; timed tokens read what a candidate at their time would."""
    if shapes_are_fixed():
        return _read_both_ways(layer, own, packing)
    (static, static_offsets), (timed, timed_offsets) = packing.static(), packing.timed()
    q, k, v = (x_THK[static] for x_THK in own)
    static_SHK = attention(
        q,
        k,
        v,
        static_offsets,
        weights="silu",
        rule=MaskRule(causal=False),
        normaliser=layer.normaliser,
    )
    asked = timed_offsets, packing.time_T[timed]
    timed_RHK = _read_earlier(layer, [x_THK[timed] for x_THK in own], own[1:], packing, asked)
    read_THK = torch.zeros_like(own[2])
    for at, read in ((static, static_SHK), (timed, timed_RHK)):
        read_THK = read_THK.index_copy(0, at, read.to(read_THK.dtype))
    return read_THK


def _read_both_ways(layer: MtgrLayer, own: tuple[Tensor, Tensor, Tensor], packing: Packing) -> Tensor:
    """The same with every token asked in both ways, so that no shape depends on how many are static."""
    is_static = packing.time_T == ALWAYS
    rule = MaskRule(causal=False, group_T=is_static.long())
    static_THK = attention(*own, packing.offsets, weights="silu", rule=rule, normaliser=layer.normaliser)
    timed_THK = _read_earlier(layer, own, own[1:], packing, (packing.offsets, packing.time_T))
    return torch.where(is_static[:, None, None], static_THK, timed_THK)


def _read_earlier(
    layer: MtgrLayer, own: Sequence[Tensor], kept: Sequence[Tensor], packing: Packing, asked: tuple[Tensor, Tensor]
) -> Tensor:
    """``[C, H, K]``: queries at their times read what is static, what is strictly earlier, and themselves."""
    (q, own_k, own_v), (k, v), (offsets, time_C) = own, kept, asked
    return candidate_attention(
        q,
        k,
        v,
        own_k,
        own_v,
        packing.offsets,
        offsets,
        weights="silu",
        normaliser=layer.normaliser,
        key_time_T=packing.time_T,
        query_time_C=time_C,
    )
