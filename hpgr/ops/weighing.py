"""How the score of a pair becomes the weight with which a query reads a key; shared by the attention ops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from hpgr.core.errors import ConfigError, UnknownNameError, UnsupportedError
from hpgr.core.jagged import shapes_are_fixed

Kind = Literal["silu", "softmax"]


class PairBias(Protocol):
    """What is added to the scaled score of a query and a key, the same for every head."""

    def of(self, query_rows: Tensor, key_rows: Tensor) -> Tensor:
        """The bias of each pair; the two tensors of rows broadcast and give its shape."""
        ...

    def own(self, query_rows: Tensor) -> Tensor:
        """The bias of each query's pair with its own column, where that is no row of the keys (a candidate)."""
        ...


class ScoreBias(Protocol):
    """What is added to the scaled and biased scores of a query in view of all of them, for each head."""

    def added(self, q_QK: Tensor, scores_QJ: Tensor, visible_QJ: Tensor) -> Tensor:
        """``[..., Q, J]`` for queries ``[..., Q, K]`` and their scores of keys from the oldest to the newest; ``visible``
        bool broadcasts to the scores, and what it hides changes nothing."""
        ...


IN_CONTEXT = ("reference", "vectorised", "fixed")
"""Implementations that hold all scores of a query at once, as a ``ScoreBias`` must see them."""


def check_context(context: ScoreBias | None, impl: str) -> None:
    """Raises: UnsupportedError where the implementation never holds all scores of a query."""
    if context is not None and impl not in IN_CONTEXT:
        raise UnsupportedError(
            f"context ({type(context).__name__}) must be None for impl {impl}, which never holds all scores of a query; use "
            "vectorised"
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Weighing:
    """``silu``: ``silu(scale * qk + bias) / normaliser``; ``softmax``: over what the query sees, without normaliser.

    ``context`` adds to a score what the query's other scores say."""

    kind: Kind
    normaliser: float | None
    scale: float
    bias: PairBias | None
    context: ScoreBias | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise UnknownNameError.of("kind of weights", self.kind, get_args(Kind))
        if self.kind == "silu" and (self.normaliser is None or not self.normaliser > 0):
            raise ConfigError(f"normaliser ({self.normaliser}) must be a positive constant with silu weights")
        if self.kind == "softmax" and self.normaliser is not None:
            raise ConfigError(f"normaliser ({self.normaliser}) must be None with softmax weights")

    @property
    def divisor(self) -> float:
        """The normaliser of silu weights."""
        assert self.normaliser is not None
        return self.normaliser

    def in_context(self, q: Tensor, scores: Tensor, visible: Tensor) -> Tensor:
        """Scaled and biased ``scores [..., Q, J]`` of ``q [..., Q, K]`` with what the context adds to them."""
        return scores if self.context is None else scores + self.context.added(q, scores, visible)

    def weights(self, scores: Tensor, visible: Tensor, gate: Tensor | None = None) -> Tensor:
        """Weights of scaled and biased ``scores [..., J]``; ``visible`` bool and ``gate`` broadcast to them.

        Exactly 0 where a key is not visible; a query that sees nothing gets zeros. ``gate`` multiplies silu weights and
        adds its logarithm to softmax scores, so a gate of 0 hides the key there.
        """
        if self.kind == "silu":
            weight = F.silu(scores) / self.divisor
            return (weight if gate is None else weight * gate).masked_fill(~visible, 0.0)
        if gate is not None:
            visible = visible & (gate > 0)
            scores = scores + torch.where(visible, gate, 1.0).log()
        return scores.masked_fill(~visible, torch.finfo(scores.dtype).min).softmax(-1).masked_fill(~visible, 0.0)


def check_heads(q: Tensor, k: Tensor, v: Tensor, *, same_rows: bool) -> None:
    """Raises: ValueError unless q and k are ``(rows, H, K)`` and v is ``(rows of k, H, any)``."""
    fits = q.ndim == k.ndim == v.ndim == 3 and q.shape[1:] == k.shape[1:] and k.shape[:2] == v.shape[:2]
    if not fits or (same_rows and q.shape[0] != k.shape[0]):
        raise ValueError(
            f"q, k and v must agree in heads, q and k in head width, {'all' if same_rows else 'k and v'} in rows; "
            f"got {tuple(q.shape)}, {tuple(k.shape)} and {tuple(v.shape)}"
        )


def check_offsets(name: str, offsets: Tensor, size: int) -> None:
    """Raises: ValueError unless ``offsets`` are jagged offsets of ``size`` rows; inside ``fixed_shapes`` no value is looked at."""
    if shapes_are_fixed() and offsets.ndim == 1:
        return
    if offsets.ndim != 1 or offsets.shape[0] < 1 or int(offsets[-1]) != size:
        end = int(offsets[-1]) if offsets.numel() else None
        raise ValueError(f"{name} (ending at {end}) must be one row of offsets that ends at the number of rows, {size}")
