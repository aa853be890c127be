"""Session enhancement: events → one token a session → sessions read each other → back to the events.

Chen et al., WWW 2026, arXiv:2603.00980. Departs: split, pooling, depth, fusion and the way a session returns to its events
are ours, because the article's formulas are not known; see ``docs/models/hpgr.md``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor, nn

from hpgr.core.batch import History
from hpgr.core.errors import ConfigError, UnsupportedError
from hpgr.core.jagged import Jagged
from hpgr.nn.position import TimeAwarePosition
from hpgr.nn.session_fusion import SessionFusion
from hpgr.nn.transformer_layer import TransformerLayer
from hpgr.ops.attention import MaskRule


class SessionEnhancement(nn.Module):
    """``(T, D)`` tokens to ``(T, D)`` session features: what each event's session means among the user's sessions."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``causal``: a session sees itself and earlier ones only. ``pool``: how a session's events become one token."""

        layer: TransformerLayer.Config
        num_intra_layers: int = 1
        num_inter_layers: int = 1
        pool: Literal["mean", "last"] = "mean"
        causal: bool = False
        position: TimeAwarePosition.Config = field(default_factory=TimeAwarePosition.Config)

        def __post_init__(self) -> None:
            for name in ("num_intra_layers", "num_inter_layers"):
                if getattr(self, name) < 1:
                    raise ConfigError(f"{name} ({getattr(self, name)}) must be at least 1")

        def build(self, *, dim: int) -> SessionEnhancement:
            return SessionEnhancement(self, dim)

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        self.config = config
        self.intra = nn.ModuleList(config.layer.build(dim=dim) for _ in range(config.num_intra_layers))
        self.inter = nn.ModuleList(config.layer.build(dim=dim) for _ in range(config.num_inter_layers))
        self.position = config.position.build(dim=dim)
        self.rule = MaskRule(causal=config.causal)

    def forward(self, x_TD: Tensor, history: History) -> Tensor:
        """Each event's session feature ``[T, D]``."""
        return self.sessions(x_TD, history)[history.session_of_event()]

    def members(self, x_TD: Tensor, history: History) -> Tensor:
        """``[T, D]``: events after reading the other events of their own session, and no other."""
        states = Jagged(x_TD, history.session_offsets)
        for layer in self.intra:
            states = layer(states, MaskRule(causal=False))
        return states.values

    def sessions(self, x_TD: Tensor, history: History) -> Tensor:
        """``[S, D]``: one token a session, after the sessions of a user have read each other."""
        token_SD = self._pooled(self.members(x_TD, history), history)
        offsets = history.user_session_offsets()
        ended_S = history.time_ms[history.session_offsets[1:] - 1]
        token_SD = token_SD + self.position.for_history(offsets, ended_S, history.now_ms)
        states = Jagged(token_SD, offsets)
        for layer in self.inter:
            states = layer(states, self.rule)
        return states.values

    def _pooled(self, member_TD: Tensor, history: History) -> Tensor:
        offsets = history.session_offsets
        if self.config.pool == "last":
            return member_TD[offsets[1:] - 1]
        sums_SD = member_TD.new_zeros((offsets.shape[0] - 1, member_TD.shape[1]))
        sums_SD = sums_SD.index_add(0, history.session_of_event(), member_TD)
        return sums_SD / offsets.diff().clamp(min=1)[:, None].to(sums_SD.dtype)


class SessionTrunk(nn.Module):
    """Tokens from item vectors: item + place in time + (through a normed, gained gate) what the session means."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``sem`` None switches the session part off. ``position`` None: a token does not tell its place."""

        position: TimeAwarePosition.Config | None = field(default_factory=TimeAwarePosition.Config)
        sem: SessionEnhancement.Config | None = None
        fusion: SessionFusion.Config = field(default_factory=SessionFusion.Config)

        @property
        def causal(self) -> bool:
            """Whether no event's token reads a later event; the session part reads an event's whole session."""
            return self.sem is None

        def build(self, *, dim: int) -> SessionTrunk:
            return SessionTrunk(self, dim)

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        self.position = config.position.build(dim=dim) if config.position else None
        self.sem = config.sem.build(dim=dim) if config.sem else None
        self.fusion = config.fusion.build(dim=dim) if config.sem else None
        self.monitors: dict[str, Tensor] = {}

    def places(self, history: History) -> Tensor | float:
        """``[T, D]``: the time-aware position of every event; 0 where tokens do not tell their place."""
        if self.position is None:
            return 0.0
        return self.position.for_history(history.user_offsets, history.time_ms, history.now_ms)

    def forward(self, x: Jagged, history: History) -> Jagged:
        """Item vectors ``(T, D)`` to tokens ``(T, D)``."""
        place_TD = self.places(history)
        if self.sem is None or self.fusion is None:
            return x.with_values(x.values + place_TD)
        session_TD = self.sem(x.values + place_TD, history)
        fused_TD = self.fusion(x.values, session_TD)
        self.monitors = {"sem_branch_ratio": self.fusion.branch_ratio}
        return x.with_values(fused_TD + place_TD)

    def for_candidates(self, x_CD: Tensor, waited_ms_C: Tensor) -> Tensor:
        """Candidates skip the session part; all share one place: now. ``waited_ms_C``: since the newest event. ``[C, D]``."""
        return x_CD if self.position is None else x_CD + self.position.for_candidates(waited_ms_C)

    def newest(self, x_1D: Tensor, history: History) -> Tensor:
        """``[1, D]``: the token of the newest event of one user, from its item vector.

        Raises: UnsupportedError where the tokens before it change too.
        """
        if (why := self.why_not_appended()) is not None:
            raise UnsupportedError(why)
        if self.position is None:
            return x_1D
        # Its place needs nothing but its rank and the event before it.
        return x_1D + self.position.for_history(history.user_offsets, history.time_ms, history.now_ms)[-1:]

    def why_not_appended(self) -> str | None:
        """Why a later event changes the tokens before it; None where it does not."""
        if self.sem is not None:
            return "the session part (sem) reads the events of the open session in both directions; set sem to None"
        return None if self.position is None else self.position.why_not_appended()
