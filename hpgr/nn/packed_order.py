"""Jagged rows in the order in which a recurrent layer of torch takes them."""

from __future__ import annotations

from torch import Tensor

from hpgr.core.jagged import position_in_row, row_of


def packed_order(offsets: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """``(event_P, by_length_S, sizes)``: first events of all pieces, second ones, …; in each step the longest piece first.

    ``by_length_S``: that order of the pieces, none of which may be empty; ``sizes``: events of each step, on the CPU.

    >>> import torch
    >>> [x.tolist() for x in packed_order(torch.tensor([0, 1, 4]), 4)]
    [[1, 0, 2, 3], [1, 0], [2, 1, 1]]
    """
    by_length_S, place_T = offsets.diff().argsort(descending=True, stable=True), position_in_row(offsets, size)
    rank_T = by_length_S.argsort()[row_of(offsets, size)]
    return (place_T * by_length_S.shape[0] + rank_T).argsort(), by_length_S, place_T.bincount().cpu()
