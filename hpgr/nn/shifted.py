"""What stands so many places before or after each event in its own row."""

from __future__ import annotations

from torch import Tensor

from hpgr.core.jagged import position_in_row, row_of


def shifted(x_TD: Tensor, offsets: Tensor, back: int) -> Tensor:
    """``[T, D]``: the event ``back`` places before each one, after it where negative; zero beyond the row.

    >>> import torch
    >>> shifted(torch.tensor([[1], [2], [3]]), torch.tensor([0, 1, 3]), 1).flatten().tolist()
    [0, 0, 2]
    """
    size = x_TD.shape[0]
    place_T = position_in_row(offsets, size) - back
    there_T = (place_T >= 0) & (place_T < offsets.diff()[row_of(offsets, size)])
    return x_TD.roll(back, 0).masked_fill(~there_T[:, None], 0)
