"""Rows of unlike length laid end to end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor

_FIXED = ContextVar("fixed_shapes", default=False)


@contextmanager
def fixed_shapes() -> Iterator[None]:
    """Inside, no shape depends on a value, so that what is traced once holds for every batch of its shape.

    Sessions then have a slot for each event; those beyond the last one are empty and stand at the end.
    """
    token = _FIXED.set(True)
    try:
        yield
    finally:
        _FIXED.reset(token)


def shapes_are_fixed() -> bool:
    """Whether ``fixed_shapes`` is in force."""
    return _FIXED.get()


@dataclass(frozen=True, slots=True)
class Jagged:
    """``values [T, ...]`` and ``offsets [B+1]`` int64: row ``b`` is ``values[offsets[b]:offsets[b+1]]``."""

    values: Tensor
    offsets: Tensor

    @classmethod
    def from_lengths(cls, values: Tensor, lengths: Sequence[int] | Tensor) -> Jagged:
        """Rows of the given lengths.

        Raises: ValueError if the lengths do not add up to the number of values.
        """
        offsets = offsets_of(torch.as_tensor(lengths, dtype=torch.int64, device=values.device))
        if int(offsets[-1]) != values.shape[0]:
            raise ValueError(f"lengths (sum {int(offsets[-1])}) must add up to the values ({values.shape[0]})")
        return cls(values, offsets)

    @property
    def lengths(self) -> Tensor:
        """``[B]`` int64."""
        return self.offsets.diff()

    @property
    def num_rows(self) -> int:
        return self.offsets.shape[0] - 1

    def row_of(self) -> Tensor:
        """``[T]`` int64: the row each value lies in."""
        return row_of(self.offsets, self.values.shape[0])

    def with_values(self, values: Tensor) -> Jagged:
        """Other values on the same rows."""
        return Jagged(values, self.offsets)

    def to_padded(self, length: int | None = None) -> tuple[Tensor, Tensor]:
        """``(padded [B, L, ...], mask [B, L])``; the padding is zero and the mask False there."""
        lengths = self.lengths
        size = int(lengths.max()) if lengths.numel() and length is None else (length or 0)
        mask = torch.arange(size, device=lengths.device) < lengths[:, None]
        padded = self.values.new_zeros((self.num_rows, size, *self.values.shape[1:]))
        padded[mask] = self.values
        return padded, mask

    def last(self) -> Tensor:
        """``[B]`` int64: the index of each row's last value; -1 + its start where the row is empty."""
        return self.offsets[1:] - 1


def offsets_of(lengths: Tensor) -> Tensor:
    """``[B+1]`` int64 offsets of rows with ``lengths [B]``."""
    return torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])


def row_of(offsets: Tensor, size: int) -> Tensor:
    """``[size]`` int64: the row of each value; the last one for what lies behind all rows."""
    if shapes_are_fixed():
        after = torch.arange(size, device=offsets.device)[:, None] >= offsets[1:]
        return after.sum(1).clamp(max=offsets.shape[0] - 2)
    rows = torch.arange(offsets.shape[0] - 1, device=offsets.device)
    return torch.repeat_interleave(rows, offsets.diff(), output_size=size)


def position_in_row(offsets: Tensor, size: int) -> Tensor:
    """``[size]`` int64: 0, 1, 2 … inside each row."""
    return torch.arange(size, device=offsets.device) - offsets[row_of(offsets, size)]


def offsets_of_starts(starts_T: Tensor) -> Tensor:
    """``[S+1]`` int64 offsets of rows that begin where ``starts_T`` bool says; with ``fixed_shapes`` ``[T+1]``.

    >>> offsets_of_starts(torch.tensor([True, False, True])).tolist()
    [0, 2, 3]
    """
    size = starts_T.shape[0]
    if shapes_are_fixed():
        slots = torch.arange(size + 1, device=starts_T.device)
        return (starts_T.cumsum(0) <= slots[:, None]).sum(1)
    return torch.cat([starts_T.nonzero().squeeze(1), starts_T.new_full((1,), size, dtype=torch.int64)])
