"""Two linear layers round a non-linearity, for each event alone.

Source: Vaswani et al., NeurIPS 2017, arXiv:1706.03762, section 3.3; ``swiglu``: Shazeer, 2020, arXiv:2002.05202,
equation 6: a third layer, through silu, gates the width between the two, and none has a shift.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor, nn

from hpgr.core.errors import ConfigError, UnknownNameError

Activation = Literal["relu", "gelu"]
FeedForwardKind = Literal["relu", "gelu", "swiglu"]


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
        act: FeedForwardKind = "gelu"
        dropout: float = 0.0

        def __post_init__(self) -> None:
            if self.hidden_dim < 1:
                raise ConfigError(f"hidden_dim ({self.hidden_dim}) must be at least 1")
            if not 0 <= self.dropout < 1:
                raise ConfigError(f"dropout ({self.dropout}) must lie in [0, 1)")
            if self.act not in get_args(FeedForwardKind):
                raise UnknownNameError.of("activation", self.act, get_args(FeedForwardKind))

        def build(self, *, dim: int) -> FeedForward:
            return FeedForward(self, dim)

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        gated = config.act == "swiglu"
        self.inner = nn.Linear(dim, config.hidden_dim, bias=not gated)
        self.act = nn.Identity() if config.act == "swiglu" else activation(config.act)
        self.dropout = nn.Dropout(config.dropout)
        self.outer = nn.Linear(config.hidden_dim, dim, bias=not gated)
        self.gate = nn.Linear(dim, config.hidden_dim, bias=False) if gated else None

    def forward(self, x: Tensor) -> Tensor:
        """``[..., D]`` to ``[..., D]``."""
        wide = self.act(self.inner(x))
        if self.gate is not None:
            wide = wide * F.silu(self.gate(x))
        return self.outer(self.dropout(wide))


def normed_mlp(sizes: tuple[int, ...], *, dropout: float = 0.0) -> nn.Sequential:
    """Linear layers of those widths; behind each but the last a norm over the width, a leaky rectifier and dropout.

    >>> [type(layer).__name__ for layer in normed_mlp((4, 8, 2))]
    ['Linear', 'LayerNorm', 'LeakyReLU', 'Dropout', 'Linear']
    """
    layers: list[nn.Module] = []
    for width, wider in pairwise(sizes[:-1]):
        layers += [nn.Linear(width, wider), nn.LayerNorm(wider), nn.LeakyReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))
