"""What each candidate reads of its user's history, weighed by a small network that sees both.

Source: Zhou et al., KDD 2018, arXiv:1706.06978 (DIN), whose network sees ``k``, ``q``, ``q - k`` and ``q * k``; the first
layer is linear in the difference, so it needs no columns of its own. Departs: GELU for Dice, one hidden layer, a softmax
over the history where asked for, as in public benchmarks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hpgr.core.errors import ConfigError
from hpgr.nn.contextual_position import ContextualPosition
from hpgr.nn.feed_forward import Activation, activation
from hpgr.ops.length_blocks import gathered, length_blocks, padded_index
from hpgr.ops.weighing import Weighing

# Numbers of one hidden layer that are held at once.
_NUMBERS = 1 << 22


class TargetAttention(nn.Module):
    """``[C, D]``: a weighted sum of the history's vectors; candidates never see each other."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``softmax`` False: the network's numbers are the weights, so that a sum tells how much there was. ``context``:
        places found from the scores."""

        hidden_dim: int = 32
        act: Activation = "gelu"
        softmax: bool = True
        context: ContextualPosition.Config | None = None

        def __post_init__(self) -> None:
            if self.hidden_dim < 1:
                raise ConfigError(f"hidden_dim ({self.hidden_dim}) must be at least 1")
            activation(self.act)

        def build(self, *, dim: int) -> TargetAttention:
            return TargetAttention(self, dim)

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        self.config = config
        self.query = nn.Linear(dim, config.hidden_dim)
        self.key = nn.Linear(dim, config.hidden_dim, bias=False)
        self.product = nn.Linear(dim, config.hidden_dim, bias=False)
        self.act = activation(config.act)
        self.score = nn.Linear(config.hidden_dim, 1)
        self.context = config.context.build(head_dim=dim) if config.context else None

    def forward(self, q_CD: Tensor, k_TD: Tensor, user_offsets: Tensor, candidate_offsets: Tensor) -> Tensor:
        """``[C, D]`` from candidates and events, oldest first; zero for a user without history."""
        parts, places = [], []
        for users_b in length_blocks(user_offsets):
            cand_bC, asked_bC = padded_index(candidate_offsets, users_b)
            index_bL, there_bL = padded_index(user_offsets, users_b)
            if not asked_bC.any() or not there_bL.any():
                continue
            step = max(1, _NUMBERS // (index_bL.numel() * self.config.hidden_dim))
            for cand_bc, asked_bc in zip(cand_bC.split(step, 1), asked_bC.split(step, 1)):
                read_bcD = self._read(gathered(q_CD, cand_bc), gathered(k_TD, index_bL), there_bL[:, None, :])
                parts.append(read_bcD[asked_bc])
                places.append(cand_bc[asked_bc])
        read_CD = torch.zeros_like(q_CD)
        return read_CD.index_copy(0, torch.cat(places), torch.cat(parts).to(q_CD.dtype)) if parts else read_CD

    def scores(self, q_bCD: Tensor, k_bLD: Tensor) -> Tensor:
        """``[b, C, L]``: the network's number for each pair."""
        of_both_bCLH = torch.einsum("bcd,hd,bld->bclh", q_bCD, self.product.weight, k_bLD)
        hidden_bCLH = self.query(q_bCD)[:, :, None] + self.key(k_bLD)[:, None] + of_both_bCLH
        return self.score(self.act(hidden_bCLH)).squeeze(-1)

    def _read(self, q_bCD: Tensor, k_bLD: Tensor, visible_b1L: Tensor) -> Tensor:
        scores_bCL, context = self.scores(q_bCD, k_bLD), self.context
        if context is not None:
            scores_bCL = scores_bCL + context.added(q_bCD, scores_bCL, visible_b1L)
        if not self.config.softmax:
            return scores_bCL.masked_fill(~visible_b1L, 0.0) @ k_bLD
        weighing = Weighing(kind="softmax", normaliser=None, scale=1.0, bias=None)
        return weighing.weights(scores_bCL, visible_b1L) @ k_bLD
