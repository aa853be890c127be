"""Two linear layers round a non-linearity, for each event alone.

Source: Vaswani et al., NeurIPS 2017, arXiv:1706.03762, section 3.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor, nn

from hpgr.core.errors import ConfigError, UnknownNameError

Activation = Literal["relu", "gelu"]


def activation(name: Activation) -> nn.Module:
    """The layer of that name.

    Raises: UnknownNameError if there is none.
    """
    layers: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU}
    if name not in layers:
        raise UnknownNameError.of("activation", name, get_args(Activation))
    return layers[name]()


class FeedForward(nn.Module):
    """``[..., D]`` to ``[..., D]``."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``hidden_dim``: width between the two layers. ``dropout`` acts on that width; the caller drops the output."""

        hidden_dim: int
        act: Activation = "gelu"
        dropout: float = 0.0

        def __post_init__(self) -> None:
            if self.hidden_dim < 1:
                raise ConfigError(f"hidden_dim ({self.hidden_dim}) must be at least 1")
            if not 0 <= self.dropout < 1:
                raise ConfigError(f"dropout ({self.dropout}) must lie in [0, 1)")
            if self.act not in get_args(Activation):
                raise UnknownNameError.of("activation", self.act, get_args(Activation))

        def build(self, *, dim: int) -> FeedForward:
            return FeedForward(self, dim)

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        self.inner = nn.Linear(dim, config.hidden_dim)
        self.act = activation(config.act)
        self.dropout = nn.Dropout(config.dropout)
        self.outer = nn.Linear(config.hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """``[..., D]`` to ``[..., D]``."""
        return self.outer(self.dropout(self.act(self.inner(x))))
