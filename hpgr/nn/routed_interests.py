"""Several vectors a user by dynamic routing: events vote, and go where their votes agree.

Cen et al., KDD 2020, arXiv:2005.09347 (ComiRec-DR); Sabour et al., NeurIPS 2017, arXiv:1710.09829.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hpgr.core.errors import ConfigError
from hpgr.core.jagged import Jagged
from hpgr.nn.readings import Readings


class RoutedInterests(nn.Module):
    """``v_j = squash(Σ_i c_ij W_ij x_i)``; ``c`` is a softmax over *interests* of ``b``, which grows by ``W_ij x_i · v_j`` each round.

    Only the last round carries a gradient into ``W`` and ``x``. Computed in float32 whatever autocast says.
    Departs: as ``AttendedInterests``.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """A matrix for each place and interest; events from place ``num_positions`` on share the last ones, so that 1 is one
        matrix an interest. ``std``: of the initial weights; the article's code has 1, and a rate of their own for them."""

        num_interests: int = 4
        num_rounds: int = 3
        num_positions: int = 50
        std: float = 1.0

        def __post_init__(self) -> None:
            for name in ("num_interests", "num_rounds", "num_positions"):
                if getattr(self, name) < 1:
                    raise ConfigError(f"{name} ({getattr(self, name)}) must be at least 1")
            if not self.std > 0:
                raise ConfigError(f"std ({self.std}) must be positive")

        def build(self, *, dim: int) -> RoutedInterests:
            return RoutedInterests(self, dim)

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        self.config = config
        shape = (config.num_positions, config.num_interests, dim, dim)
        self.vote_PIDD = nn.Parameter(torch.randn(shape) * config.std)

    def forward(self, states: Jagged, read_N: Tensor, *, around: bool = False) -> Tensor:
        """``[N, I, D]``: the interests at the events ``read_N``, each shorter than 1; zero where that is -1."""
        readings = Readings.of(states.offsets, read_N, around=around)
        with torch.autocast(states.values.device.type, enabled=False):
            vote_BILD = self.votes(states.to_padded()[0].float())
            sees_B1RL = readings.sees(vote_BILD.shape[2])[:, None]
            agreed_BIRL = torch.zeros_like(sees_B1RL, dtype=vote_BILD.dtype).expand(-1, vote_BILD.shape[1], -1, -1)
            still_BILD = vote_BILD.detach()
            for _ in range(self.config.num_rounds - 1):
                interest_BIRD = squash((agreed_BIRL.softmax(1) * sees_B1RL) @ still_BILD)
                agreed_BIRL = agreed_BIRL + interest_BIRD @ still_BILD.transpose(2, 3)
            interest_BIRD = squash((agreed_BIRL.softmax(1) * sees_B1RL) @ vote_BILD)
        return readings.back(interest_BIRD.transpose(1, 2))

    def votes(self, x_BLD: Tensor) -> Tensor:
        """``[B, I, L, D]``: what each event says to each interest."""
        own = x_BLD[:, : self.config.num_positions]
        voted = [torch.einsum("bld,lied->bile", own, self.vote_PIDD[: own.shape[1]])]
        if own.shape[1] < x_BLD.shape[1]:
            voted.append(torch.einsum("bld,ied->bile", x_BLD[:, own.shape[1] :], self.vote_PIDD[-1]))
        return torch.cat(voted, 2)


def squash(s_XD: Tensor) -> Tensor:
    """``|s|² / (1 + |s|²) · s / |s|``: the direction stays, the length comes below 1.

    >>> squash(torch.tensor([[3.0, 4.0]])).norm().allclose(torch.tensor(25 / 26))
    True
    """
    square = s_XD.square().sum(-1, keepdim=True)
    return s_XD * square / (1 + square) * (square + 1e-12).rsqrt()
