"""Which plays of a row are of one item."""

from __future__ import annotations

import torch
from torch import Tensor

from hpgr.core.jagged import row_of


def first_plays(item_T: Tensor, offsets_B1: Tensor) -> Tensor:
    """``[T]`` int64: the event of the same row in which the item came first; itself for a first play.

    >>> first_plays(torch.tensor([7, 8, 7, 7]), torch.tensor([0, 3, 4])).tolist()
    [0, 1, 0, 3]
    """
    kind_T = _kinds(item_T, offsets_B1)
    event_T = torch.arange(item_T.shape[0], device=item_T.device)
    return torch.full_like(event_T, item_T.shape[0]).scatter_reduce(0, kind_T, event_T, "amin")[kind_T]


def next_plays(item_T: Tensor, offsets_B1: Tensor) -> Tensor:
    """``[T]`` int64: the event of the same row in which the item comes next; ``T`` where it does not.

    >>> next_plays(torch.tensor([7, 8, 7, 7]), torch.tensor([0, 3, 4])).tolist()
    [2, 4, 4, 4]
    """
    kind_T = _kinds(item_T, offsets_B1)
    order_T = kind_T.argsort(stable=True)
    same = kind_T[order_T[1:]] == kind_T[order_T[:-1]]
    next_T = torch.full_like(order_T, item_T.shape[0])
    next_T[order_T[:-1][same]] = order_T[1:][same]
    return next_T


def _kinds(item_T: Tensor, offsets_B1: Tensor) -> Tensor:
    """``[T]``: a number for each row and item."""
    if not item_T.shape[0]:
        return item_T
    key_T = row_of(offsets_B1, item_T.shape[0]) * (item_T.max() + 1) + item_T
    return key_T.unique(return_inverse=True)[1]
