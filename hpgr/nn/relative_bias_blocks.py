"""The relative bias among the events of a group of rows, a block of pairs at a time, and its gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from hpgr.ops.time_bucket import hstu_bucket_of_ms

Place: TypeAlias = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """What the pairs of a group are looked up by. ``query_at_bL`` None: queries stand where their keys do.

    ``memory``: buckets of blocks seen before, for layers and passes over the same events; None where it would be large.
    """

    query_time_bL: Tensor
    key_time_bL: Tensor
    index_bL: Tensor
    query_at_bL: Tensor | None
    memory: dict[Place, Tensor] | None

    def buckets(self, queries: slice, keys: slice) -> Tensor:
        """int64 ``[b, Q, J]``."""
        block = (queries.start, queries.stop, keys.start, keys.stop)
        if self.memory is not None and block in self.memory:
            return self.memory[block].long()
        bucket_bQJ = hstu_bucket_of_ms(self.query_time_bL[:, queries, None] - self.key_time_bL[:, None, keys])
        if self.memory is not None:
            self.memory[block] = bucket_bQJ.to(torch.uint8)
        return bucket_bQJ


class GroupedBias:
    """A ``GroupBias``. Where queries are keys, all pairs equally far apart share one number of a line."""

    def __init__(self, place: Tensor | None, time: Tensor | None, group: Group) -> None:
        self._place, self._time, self._group = place, time, group
        self._reach = place.shape[0] // 2 if place is not None else 0
        length = group.index_bL.shape[1]
        ahead = torch.arange(1 - length, length, device=group.index_bL.device)
        self._line = ahead.clamp_(-self._reach, self._reach).add_(self._reach)

    def block(self, queries: slice, keys: slice) -> BlockOfPairs:
        """``values [b | 1, Q, J]``."""
        terms, bucket_bQJ, line, row_bQJ = [], None, None, None
        if self._time is not None:
            bucket_bQJ = self._group.buckets(queries, keys)
            terms.append(_looked_up(self._time, bucket_bQJ))
        if self._place is not None and self._group.query_at_bL is not None:
            ahead = self._group.index_bL[:, None, keys] - self._group.query_at_bL[:, queries, None]
            row_bQJ = ahead.clamp_(-self._reach, self._reach).add_(self._reach)
            terms.append(_looked_up(self._place, row_bQJ))
        elif self._place is not None:
            # From the last query's first key to the first query's last key.
            length = self._group.index_bL.shape[1]
            line = self._line[keys.start - queries.stop + length : keys.stop - queries.start + length - 1]
            terms.append(self._place[line].unfold(0, keys.stop - keys.start, 1).flip(0)[None])
        values = terms[0] if len(terms) == 1 else terms[0].add_(terms[1])
        return BlockOfPairs(values, line, row_bQJ, bucket_bQJ)


@dataclass(frozen=True, slots=True, eq=False)
class BlockOfPairs:
    """A ``BlockBias``; gradients come in the order place, time. ``line`` or ``row_bQJ``: rows of the table of places."""

    values: Tensor
    line: Tensor | None
    row_bQJ: Tensor | None
    bucket_bQJ: Tensor | None

    def collect(self, upstream_bQJ: Tensor, into: tuple[Tensor, ...]) -> None:
        """Add the gradients of one block."""
        upstream_bQJ = upstream_bQJ.to(into[0].dtype)
        if self.line is not None:
            into[0].index_add_(0, self.line, _diagonals(upstream_bQJ.sum(0)))
        if self.row_bQJ is not None:
            _scatter(upstream_bQJ, self.row_bQJ, into[0])
        if self.bucket_bQJ is not None:
            _scatter(upstream_bQJ, self.bucket_bQJ, into[-1])


def _looked_up(table_N: Tensor, index_bQJ: Tensor) -> Tensor:
    index = _lines(index_bQJ)
    return table_N.expand(index.shape[0], -1).gather(1, index).view_as(index_bQJ)


def _scatter(upstream_bQJ: Tensor, index_bQJ: Tensor, into_N: Tensor) -> None:
    lines = _lines(upstream_bQJ)
    sums = into_N.new_zeros(lines.shape[0], into_N.shape[0]).scatter_add_(1, _lines(index_bQJ), lines)
    into_N.add_(sums.sum(0))


def _lines(x_bQJ: Tensor) -> Tensor:
    """``[lines, any]``, more than one wherever possible: a core takes whole lines."""
    return x_bQJ.flatten(1) if x_bQJ.shape[0] > 1 else x_bQJ.flatten(0, 1)


def _diagonals(x_QJ: Tensor) -> Tensor:
    """``[Q + J - 1]``: sums over pairs equally far apart, from the last query's first key on."""
    queries, keys = x_QJ.shape
    # Read in rows of one number less than they were laid out with, each row shifts by one against the next.
    laid_QN = F.pad(x_QJ.flip(0), (0, queries))
    return laid_QN.flatten()[: queries * (queries + keys - 1)].view(queries, -1).sum(0)
