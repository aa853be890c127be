"""The relative bias among the events of a group of rows, a block of pairs at a time, and its gradient."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hpgr.ops.time_bucket import hstu_bucket_of_ms


class GroupedBias:
    """A ``GroupBias``: every pair equally far apart shares one number of ``line``, and a bucket needs no place."""

    def __init__(
        self, place: Tensor | None, time: Tensor | None, query_time_bL: Tensor, key_time_bL: Tensor
    ) -> None:
        self._time, self._length = time, key_time_bL.shape[1]
        self._query_time_bL, self._key_time_bL = query_time_bL.double(), key_time_bL.double()
        self._row_of_line = self._line = None
        if place is not None:
            reach, device = place.shape[0] // 2, place.device
            ahead = torch.arange(1 - self._length, self._length, device=device)
            self._row_of_line = ahead.clamp(-reach, reach) + reach
            self._line = place[self._row_of_line]

    def block(self, queries: slice, keys: slice) -> BlockOfPairs:
        """``values [b | 1, Q, J]``."""
        bucket_bQJ, rows_of_line, values = None, None, None
        if self._time is not None:
            delta_bQJ = self._query_time_bL[:, queries, None] - self._key_time_bL[:, None, keys]
            bucket_bQJ = hstu_bucket_of_ms(delta_bQJ)
            values = _looked_up(self._time, bucket_bQJ)
        if self._line is not None and self._row_of_line is not None:
            # Places ahead run from that of the last query to the first key to that of the first query to the last key.
            part = slice(keys.start - queries.stop + self._length, keys.stop - queries.start + self._length - 1)
            rows_of_line = self._row_of_line[part]
            place_1QJ = self._line[part].unfold(0, keys.stop - keys.start, 1).flip(0)[None]
            values = place_1QJ if values is None else values.add_(place_1QJ)
        assert values is not None
        return BlockOfPairs(values, bucket_bQJ, rows_of_line)


@dataclass(frozen=True, slots=True, eq=False)
class BlockOfPairs:
    """A ``BlockBias``; gradients come in the order place, time."""

    values: Tensor
    bucket_bQJ: Tensor | None
    rows_of_line: Tensor | None

    def collect(self, upstream_bQJ: Tensor, into: tuple[Tensor, ...]) -> None:
        """Add the gradients of one block."""
        if self.rows_of_line is not None:
            summed_N = _diagonals(upstream_bQJ.sum(0))
            into[0].index_add_(0, self.rows_of_line, summed_N.to(into[0].dtype))
        if self.bucket_bQJ is not None:
            wide_bQJ, bucket_bQJ = (_lines(x) for x in (upstream_bQJ.to(into[-1].dtype), self.bucket_bQJ))
            table_bN = into[-1].new_zeros(wide_bQJ.shape[0], into[-1].shape[0])
            into[-1].add_(table_bN.scatter_add_(1, bucket_bQJ, wide_bQJ).sum(0))


def _looked_up(table_N: Tensor, index_bQJ: Tensor) -> Tensor:
    index = _lines(index_bQJ)
    return table_N.expand(index.shape[0], -1).gather(1, index).view_as(index_bQJ)


def _lines(x_bQJ: Tensor) -> Tensor:
    """``[lines, any]``: at least two lines where there is more than one query, for a core works on whole lines."""
    return x_bQJ.flatten(1) if x_bQJ.shape[0] > 1 else x_bQJ.flatten(0, 1)


def _diagonals(x_QJ: Tensor) -> Tensor:
    """``[Q + J - 1]``: sums over pairs equally far apart, from the last query's first key on."""
    queries, keys = x_QJ.shape
    # Rows of one number less than they were laid out with shift by one from row to row.
    laid_QN = F.pad(x_QJ.flip(0), (0, queries))
    return laid_QN.flatten()[: queries * (queries + keys - 1)].view(queries, -1).sum(0)
