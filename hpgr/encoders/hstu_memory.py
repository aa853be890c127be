"""What ``HstuEncoder`` keeps of a history between requests."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Memory:
    """A history as candidates read it: keys and values ``[T, H, K]`` of every layer."""

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]

    def by_head(self) -> Memory:
        """The same, laid out so that the keys of a head lie together and reading them copies nothing."""
        return Memory(*(tuple(_by_head(x_THK) for x_THK in kept) for kept in (self.keys, self.values)))


def _by_head(x_THK: Tensor) -> Tensor:
    return x_THK.transpose(0, 1).contiguous().transpose(0, 1)


def longer(old_THK: Tensor, new_1HK: Tensor) -> Tensor:
    """``[T + 1, H, K]``, laid out by head as the old ones are."""
    return torch.cat([old_THK.transpose(0, 1), new_1HK.transpose(0, 1)], 1).transpose(0, 1)
