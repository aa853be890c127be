"""Which events each reading of a batch may look back on, laid out so that one product a user answers all of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hpgr.core.jagged import offsets_of, position_in_row, row_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Readings:
    """``N`` readings, ``U`` of them different: ``user_U``, ``place_U`` (among the user's readings) and ``count_U`` (how many of the
    user's events it sees, the oldest ones; 0 sees nothing). ``inverse_N``: which of them each reading is."""

    user_U: Tensor
    place_U: Tensor
    count_U: Tensor
    inverse_N: Tensor
    num_users: int

    @classmethod
    def of(cls, offsets: Tensor, read_N: Tensor, *, around: bool = False) -> Readings:
        """Reading ``n`` stands at the event ``read_N[n]``, or at none where that is -1, and sees the events of its user up to
        itself; all of them with ``around``.

        >>> Readings.of(torch.tensor([0, 3, 5]), torch.tensor([0, 2, 2, 4])).count_U.tolist()
        [1, 3, 2]
        """
        num_users, size = offsets.shape[0] - 1, int(offsets[-1])
        owner_T = row_of(offsets, size)
        if size:
            user_N = owner_T[read_N.clamp(min=0)]
            last_N = offsets[1:][user_N] if around else read_N + 1
            count_N = (last_N - offsets[:-1][user_N]).masked_fill(read_N < 0, 0)
            user_N = user_N.masked_fill(read_N < 0, 0)
        else:
            user_N = count_N = torch.zeros_like(read_N)
        key_U, inverse_N = (user_N * (size + 1) + count_N).unique(return_inverse=True)
        user_U = key_U // (size + 1)
        place_U = position_in_row(offsets_of(torch.bincount(user_U, minlength=num_users)), user_U.shape[0])
        return cls(
            user_U=user_U,
            place_U=place_U,
            count_U=key_U % (size + 1),
            inverse_N=inverse_N,
            num_users=num_users,
        )

    def sees(self, length: int) -> Tensor:
        """``[B, R, L]`` bool: which of a user's first ``length`` events each of its readings sees."""
        count_BR = self._spread(self.count_U)
        return torch.arange(length, device=count_BR.device) < count_BR[..., None]

    def back(self, values_BRX: Tensor) -> Tensor:
        """``[N, ...]``: what belongs to each reading."""
        return values_BRX[self.user_U, self.place_U][self.inverse_N]

    def _spread(self, values_U: Tensor) -> Tensor:
        most = int(self.place_U.max()) + 1 if self.place_U.numel() else 0
        spread = values_U.new_zeros((self.num_users, most))
        spread[self.user_U, self.place_U] = values_U
        return spread
