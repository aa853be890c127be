"""What an event asks with: the mean of the newest events up to it. Zhu et al., WSDM 2024, arXiv:2311.01056 (L-query)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hpgr.core.errors import ConfigError
from hpgr.core.jagged import position_in_row
from hpgr.nn.shifted import shifted


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowMean:
    """The mean of an event and the ``length - 1`` before it in its row, of as many as there are; it learns nothing."""

    length: int = 3

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ConfigError(f"length ({self.length}) must be at least 1")

    def of(self, x_TD: Tensor, offsets: Tensor) -> Tensor:
        """``[T, D]``.

        >>> import torch
        >>> WindowMean(length=2).of(torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([0, 1, 3])).flatten().tolist()
        [1.0, 2.0, 3.0]
        """
        sum_TD = x_TD
        for back in range(1, self.length):
            sum_TD = sum_TD + shifted(x_TD, offsets, back)
        there_T = (position_in_row(offsets, x_TD.shape[0]) + 1).clamp(max=self.length)
        return sum_TD / there_T[:, None]
