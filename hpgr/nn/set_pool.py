"""One vector for each set of rows: mean, learned weights, or the last one; some kinds of rows may be pooled apart.

Huang et al., 2025, arXiv:2502.10157 (SessionRec), where the mean did best. Departs: how rows that nobody chose enter is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from hpgr.core.errors import ConfigError, UnknownNameError
from hpgr.core.jagged import Jagged, row_of
from hpgr.nn.transformer_layer import TransformerLayer
from hpgr.ops.attention import MaskRule

_KINDS = ("mean", "attention", "last")
_LEAST = 1e-12


class SetPool(nn.Module):
    """``(T, D)`` in sets end to end to ``(S, D)``; but for ``last``, the order inside a set tells nothing."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``kind``: ``attention`` weighs rows by a softmax over their set, all alike at the start. ``layer``: rows of a set read
        each other first, ``num_layers`` times; None: they do not. ``negatives``: rows of these actions are pooled apart and
        added through a matrix that begins at 0; of a set without other rows, the rest is 0.
        """

        kind: Literal["mean", "attention", "last"] = "mean"
        layer: TransformerLayer.Config | None = None
        num_layers: int = 1
        negatives: tuple[int, ...] = ()

        def __post_init__(self) -> None:
            if self.kind not in _KINDS:
                raise UnknownNameError.of("kind of pooling", self.kind, _KINDS)
            if self.num_layers < 1:
                raise ConfigError(f"num_layers ({self.num_layers}) must be at least 1; set layer to None for none")
            if self.negatives and (self.kind == "last" or min(self.negatives) < 0):
                raise ConfigError(
                    f"negatives ({self.negatives}) must be codes of 0 and above, and none where kind ({self.kind}) is last"
                )

        def build(self, *, dim: int) -> SetPool:
            return SetPool(self, dim)

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        self.config = config
        num_layers = config.num_layers if config.layer else 0
        self.layers = nn.ModuleList(config.layer.build(dim=dim) for _ in range(num_layers) if config.layer)
        self.query = nn.Parameter(torch.zeros(dim)) if config.kind == "attention" else None
        self.apart = nn.Linear(dim, dim, bias=False) if config.negatives else None
        if self.apart is not None:
            nn.init.zeros_(self.apart.weight)

    def forward(self, x_TD: Tensor, offsets_S1: Tensor, action_T: Tensor | None = None) -> Tensor:
        """``[S, D]`` of sets that are not empty; ``action_T`` int64 where there are ``negatives``."""
        rows = Jagged(x_TD, offsets_S1)
        for layer in self.layers:
            rows = layer(rows, MaskRule(causal=False))
        if self.config.kind == "last":
            return rows.values[offsets_S1[1:] - 1]
        if self.apart is None:
            return _mean(rows, self._weights(rows))
        assert action_T is not None
        is_apart_T = torch.isin(action_T, action_T.new_tensor(self.config.negatives))
        apart_SD = _mean(rows, self._weights(rows, is_apart_T))
        return _mean(rows, self._weights(rows, ~is_apart_T)) + self.apart(apart_SD)

    def _weights(self, rows: Jagged, among_T: Tensor | None = None) -> Tensor | None:
        """``[T]``, as sure as the softmax of a set, not yet divided by its sum; 0 for rows not ``among_T`` bool; None: all alike."""
        if self.query is None:
            return None if among_T is None else among_T.to(rows.values.dtype)
        set_T, score_T = rows.row_of(), rows.values @ self.query.to(rows.values.dtype)
        if among_T is not None:
            score_T = score_T.masked_fill(~among_T, torch.finfo(score_T.dtype).min)
        highest_S = score_T.new_zeros(rows.num_rows).scatter_reduce(0, set_T, score_T, "amax", include_self=False)
        weight_T = (score_T - highest_S.detach()[set_T]).exp()
        return weight_T if among_T is None else weight_T * among_T


def _mean(rows: Jagged, weight_T: Tensor | None) -> Tensor:
    """``[S, D]``: weighted means, 0 where no row of a set counts."""
    sums_SD = rows.values.new_zeros((rows.num_rows, rows.values.shape[1]))
    set_T = row_of(rows.offsets, rows.values.shape[0])
    if weight_T is None:
        return sums_SD.index_add(0, set_T, rows.values) / rows.lengths.clamp(min=1)[:, None].to(sums_SD.dtype)
    sums_SD = sums_SD.index_add(0, set_T, rows.values * weight_T[:, None])
    total_S = weight_T.new_zeros(rows.num_rows).index_add(0, set_T, weight_T)
    return sums_SD / total_S.clamp(min=_LEAST)[:, None]
