"""Candidates that read the history by target attention, and nothing else of it. Zhou et al., KDD 2018, arXiv:1706.06978 (DIN)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from hpgr.core.batch import Candidates, History
from hpgr.core.jagged import Jagged
from hpgr.encoders import Signal
from hpgr.encoders.hstu_memory import Memory, longer
from hpgr.nn.target_attention import TargetAttention


class TargetEncoder(nn.Module):
    """Candidate states ``[C, D]`` from a candidate and what it reads; events do not read each other."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        attention: TargetAttention.Config = field(default_factory=TargetAttention.Config)

        def build(self, *, dim: int) -> TargetEncoder:
            return TargetEncoder(self, dim)

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        self.config = config
        self.attention = config.attention.build(dim=dim)
        self.join = nn.Linear(3 * dim, dim)

    def forward(
        self, x: Jagged, x_candidates: Jagged, history: History, candidates: Candidates, signal: Signal
    ) -> Tensor:
        """``[C, D]``."""
        return self.read(self.remember(x, history, signal), x_candidates, history, candidates, signal)

    def remember(self, x: Jagged, history: History, signal: Signal) -> Memory:
        """The events' tokens, one head wide: what candidates weigh and what they read."""
        tokens = (x.values[:, None],)
        return Memory(tokens, tokens)

    def extend(self, memory: Memory, x_1D: Tensor, history: History, signal: Signal) -> Memory:
        """The memory of one user's ``history``, from that without its newest event and the event's token."""
        tokens = (longer(memory.keys[0], x_1D[:, None]),)
        return Memory(tokens, tokens)

    def read(
        self, memory: Memory, x_candidates: Jagged, history: History, candidates: Candidates, signal: Signal
    ) -> Tensor:
        """Run the candidate rows against a remembered history: ``[C, D]``."""
        x_CD, events_TD = x_candidates.values, memory.keys[0].flatten(1)
        read_CD = self.attention(x_CD, events_TD, history.user_offsets, candidates.offsets)
        return self.join(torch.cat([read_CD, x_CD, read_CD * x_CD], -1))
