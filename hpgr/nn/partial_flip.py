"""Rows turned round but for their newest events, so that a causal layer reads them from both ends.

Liu et al., AAAI 2025, arXiv:2408.11451. Departs: rows are their real events; the published code turns right-padded ones.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hpgr.core.errors import ConfigError
from hpgr.core.jagged import position_in_row, row_of


@dataclass(frozen=True, kw_only=True, slots=True)
class PartialFlip:
    """The newest ``keep`` events of a row stay where they are, the others come in reverse; it learns nothing.

    A state then knows events that come later: no state but a row's last may be asked.
    """

    keep: int = 5

    def __post_init__(self) -> None:
        if self.keep < 0:
            raise ConfigError(f"keep ({self.keep}) must not be negative")

    def order(self, offsets: Tensor, size: int) -> Tensor:
        """``[T]`` int64: which event comes where; its own inverse.

        >>> import torch
        >>> PartialFlip(keep=1).order(torch.tensor([0, 1, 5]), 5).tolist()
        [0, 3, 2, 1, 4]
        """
        row_T, place_T = row_of(offsets, size), position_in_row(offsets, size)
        turned_T = offsets.diff()[row_T] - self.keep
        return offsets[row_T] + (turned_T - 1 - place_T).where(place_T < turned_T, place_T)
