"""Several vectors a user: each reads the history with an attention of its own. Cen et al., KDD 2020, arXiv:2005.09347 (ComiRec-SA)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hpgr.core.errors import ConfigError
from hpgr.core.jagged import Jagged, position_in_row
from hpgr.nn.readings import Readings


class AttendedInterests(nn.Module):
    """``V = A x`` with ``A = softmax over events of W2 tanh(W1 (x + place))``: places move the weights, never the values.

    Departs: the events that a reading sees are weighed for every reading of a window, not for one cut of it.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``hidden_ratio``: width of the hidden layer over that of the states. Places count from the oldest event and those from
        ``num_positions`` on share the last one. ``add_state``: the state that answers is added to every interest, so that
        one interest is never less than the encoder alone; ours, for encoders whose states know their place."""

        num_interests: int = 4
        hidden_ratio: int = 4
        num_positions: int = 200
        add_state: bool = False

        def __post_init__(self) -> None:
            for name in ("num_interests", "hidden_ratio", "num_positions"):
                if getattr(self, name) < 1:
                    raise ConfigError(f"{name} ({getattr(self, name)}) must be at least 1")

        def build(self, *, dim: int) -> AttendedInterests:
            return AttendedInterests(self, dim)

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        self.config = config
        self.hidden = nn.Linear(dim, config.hidden_ratio * dim)
        self.weigh = nn.Linear(config.hidden_ratio * dim, config.num_interests)
        self.place = nn.Embedding(config.num_positions, dim)
        nn.init.normal_(self.place.weight, std=0.02)

    def forward(self, states: Jagged, read_N: Tensor, *, around: bool = False) -> Tensor:
        """``[N, I, D]``: the interests at the events ``read_N``; zero where that is -1."""
        readings = Readings.of(states.offsets, read_N, around=around)
        weight_BIRL = self.weights(states, readings)
        pooled_BIRD = weight_BIRL @ states.to_padded()[0][:, None].to(weight_BIRL.dtype)
        interest_NID = readings.back(pooled_BIRD.transpose(1, 2))
        return interest_NID + _own(states, read_N)[:, None] if self.config.add_state else interest_NID

    def weights(self, states: Jagged, readings: Readings) -> Tensor:
        """``[B, I, R, L]``: what each interest reads of each event; sums to 1 over the events seen, 0 beyond them."""
        x_TD = states.values
        place_T = position_in_row(states.offsets, x_TD.shape[0]).clamp(max=self.config.num_positions - 1)
        logit_TI = self.weigh(torch.tanh(self.hidden(x_TD + self.place(place_T)))).float()
        logit_BIL = states.with_values(logit_TI).to_padded()[0].transpose(1, 2)
        sees_BRL = readings.sees(logit_BIL.shape[2])
        shown_BIRL = logit_BIL[:, :, None].masked_fill(~sees_BRL[:, None], torch.finfo(torch.float32).min)
        return shown_BIRL.softmax(-1) * sees_BRL[:, None]


def _own(states: Jagged, read_N: Tensor) -> Tensor:
    """``[N, D]``: the states at the events ``read_N``, zero where that is -1."""
    if not states.values.shape[0]:
        return states.values.new_zeros((read_N.shape[0], states.values.shape[1]))
    return states.values[read_N.clamp(min=0)].masked_fill((read_N < 0)[:, None], 0.0)
