"""Rows of unlike length laid end to end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


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
    """``[size]`` int64: the row of each value."""
    rows = torch.arange(offsets.shape[0] - 1, device=offsets.device)
    return torch.repeat_interleave(rows, offsets.diff(), output_size=size)


def position_in_row(offsets: Tensor, size: int) -> Tensor:
    """``[size]`` int64: 0, 1, 2 … inside each row."""
    return torch.arange(size, device=offsets.device) - offsets[row_of(offsets, size)]
