"""From a candidate's state to the log-odds of its outcomes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hpgr.core.errors import ConfigError
from hpgr.nn.feed_forward import Activation, activation


class Head(nn.Module):
    """A small MLP over the state (times the candidate's vector, where asked for) and the cross features."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``product``: the state is multiplied by the candidate's vector first, as HSTU's authors do in ranking."""

        hidden_dim: int = 64
        act: Activation = "gelu"
        dropout: float = 0.0
        product: bool = False

        def __post_init__(self) -> None:
            if self.hidden_dim < 1:
                raise ConfigError(f"hidden_dim ({self.hidden_dim}) must be at least 1")
            if not 0 <= self.dropout < 1:
                raise ConfigError(f"dropout ({self.dropout}) must lie in [0, 1)")
            activation(self.act)

        def build(self, *, dim: int, num_features: int = 0, num_tasks: int = 1) -> Head:
            return Head(self, dim, num_features, num_tasks)

    def __init__(self, config: Config, dim: int, num_features: int, num_tasks: int) -> None:
        super().__init__()
        self.config = config
        self.inner = nn.Linear(dim + num_features, config.hidden_dim)
        self.act = activation(config.act)
        self.dropout = nn.Dropout(config.dropout)
        self.outer = nn.Linear(config.hidden_dim, num_tasks)

    def forward(self, state_CD: Tensor, x_CD: Tensor, features_CF: Tensor | None = None) -> Tensor:
        """``[C, tasks]`` log-odds from the states, the candidates' vectors and their cross features (None: none)."""
        if self.config.product:
            state_CD = state_CD * x_CD
        if features_CF is not None:
            state_CD = torch.cat([state_CD, features_CF], -1)
        return self.outer(self.dropout(self.act(self.inner(state_CD))))
