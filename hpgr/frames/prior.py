"""The answer for who has done nothing yet: what is popular."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PopularityPrior(nn.Module):
    """Scores of the catalogue for empty histories: the logarithm of each item's share of the training events."""

    log_share_V: Tensor

    def __init__(self, num_items: int) -> None:
        super().__init__()
        self.register_buffer("log_share_V", torch.zeros(num_items))

    def observe(self, counts_V: Tensor) -> None:
        """Take the training counts ``[V]``; every item counts once more, so that none is impossible."""
        smoothed_V = counts_V.to(self.log_share_V.dtype) + 1
        self.log_share_V.copy_((smoothed_V / smoothed_V.sum()).log())

    def fill(self, scores_BV: Tensor, empty_B: Tensor) -> Tensor:
        """``scores_BV`` with the prior in the rows of users whose history is empty."""
        return torch.where(empty_B[:, None], self.log_share_V.to(scores_BV.dtype), scores_BV)
