"""An item is a learned vector, by its id."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from hpgr.core.errors import ConfigError, UnknownNameError


class IdEmbedding(nn.Module):
    """A table of ``V + 1`` rows; the last is the item outside the catalogue.

    While training, a small share of the items read is replaced by the outside row, so that it is a trained vector when
    the first unknown item arrives.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``unknown_prob``: share of read items replaced by the outside row while training, in [0, 1).
        ``std``: of the initial normal weights; None draws them evenly from ±√(6 / (rows + dim)). ``output``: scores are made
        with the vectors that are read (``tied``), or with a second table (``separate``). ``output_bias``: a learned number is
        added to each item's score, 0 at the start. ``scale``: vectors that are read are multiplied by √dim. ``sparse``:
        gradients hold only the rows that were read or scored, for catalogues of millions under a sampled cost; a stage
        needs ``table_optimiser=rowwise`` for it. ``distance``: each item's score is lowered by half its vector's square, so
        that scores of one state fall with the squared distance to it."""

        dim: int = 64
        unknown_prob: float = 0.01
        std: float | None = 0.02
        output: Literal["tied", "separate"] = "tied"
        output_bias: bool = False
        scale: bool = False
        sparse: bool = False
        distance: bool = False

        def __post_init__(self) -> None:
            if self.dim < 1:
                raise ConfigError(f"dim ({self.dim}) must be at least 1")
            if not 0 <= self.unknown_prob < 1:
                raise ConfigError(f"unknown_prob ({self.unknown_prob}) must lie in [0, 1)")
            if self.output not in ("tied", "separate"):
                raise UnknownNameError.of("output", self.output, ("tied", "separate"))

        def build(self, *, num_items: int) -> IdEmbedding:
            return IdEmbedding(self, num_items)

    def __init__(self, config: Config, num_items: int) -> None:
        super().__init__()
        if num_items < 1:
            raise ConfigError(f"num_items ({num_items}) must be at least 1")
        self.config = config
        self.num_items = num_items
        self.dim = config.dim
        self.sparse = config.sparse
        self.weight = nn.Parameter(_drawn(num_items + 1, config))
        separate, biased = config.output == "separate", config.output_bias
        self.output_weight = nn.Parameter(_drawn(num_items, config)) if separate else None
        self.output_bias = nn.Parameter(torch.zeros(num_items)) if biased else None

    def forward(self, item_idx: Tensor) -> Tensor:
        """``[...]`` int64 in ``0 … V`` to ``[..., D]``."""
        if self.training and self.config.unknown_prob:
            lost = torch.rand(item_idx.shape, device=item_idx.device) < self.config.unknown_prob
            item_idx = item_idx.masked_fill(lost, self.num_items)
        read = nn.functional.embedding(item_idx, self.weight, sparse=self.sparse)
        return read * self.dim**0.5 if self.config.scale else read

    def table(self) -> Tensor:
        """``[V, D]``: the catalogue's vectors that scores are made with, never scaled."""
        return self.weight[: self.num_items] if self.output_weight is None else self.output_weight

    def bias(self) -> Tensor | None:
        """``[V]``: what is added to each item's score."""
        return self._lowered(self.table(), self.output_bias)

    def rows(self, item_idx: Tensor) -> tuple[Tensor, Tensor | None]:
        """``[U, D]`` and ``[U]``: rows ``item_idx [U]`` in ``0 … V-1`` of ``table`` and of ``bias``."""
        weight = self.weight if self.output_weight is None else self.output_weight
        vectors_UD = nn.functional.embedding(item_idx, weight, sparse=self.sparse)
        bias_U = None
        if self.output_bias is not None:
            bias_U = self.output_bias.gather(0, item_idx, sparse_grad=self.sparse)
        return vectors_UD, self._lowered(vectors_UD, bias_U)

    def _lowered(self, vectors_UD: Tensor, bias_U: Tensor | None) -> Tensor | None:
        if not self.config.distance:
            return bias_U
        half_U = -0.5 * vectors_UD.square().sum(-1)
        return half_U if bias_U is None else bias_U + half_U

    def row_parameters(self) -> tuple[nn.Parameter, ...]:
        """The tables and the bias."""
        return tuple(p for p in (self.weight, self.output_weight, self.output_bias) if p is not None)


def _drawn(rows: int, config: IdEmbedding.Config) -> Tensor:
    if config.std is None:
        return nn.init.xavier_uniform_(torch.empty(rows, config.dim))
    # In place: a table may be a good part of the memory that there is.
    return torch.randn(rows, config.dim).mul_(config.std)
