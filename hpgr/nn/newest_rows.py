"""Which rows are the newest of their user and which are earlier, for a last layer that only the newest leave."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hpgr.core.jagged import offsets_of


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class NewestRows:
    """``last_N``: the newest event of each row that has any; ``earlier_E``: all other events. The offsets ``[B+1]`` say whose
    they are: of ``earlier_E``, and of ``last_N``, none or one a row."""

    last_N: Tensor
    earlier_E: Tensor
    earlier_offsets: Tensor
    last_offsets: Tensor

    @classmethod
    def of(cls, offsets_B1: Tensor) -> NewestRows:
        """Of jagged rows with these offsets."""
        filled_B = offsets_B1.diff() > 0
        last_N = offsets_B1[1:][filled_B] - 1
        is_earlier_T = torch.ones(int(offsets_B1[-1]), dtype=torch.bool, device=offsets_B1.device)
        is_earlier_T[last_N] = False
        last_offsets = offsets_of(filled_B.long())
        return cls(
            last_N=last_N,
            earlier_E=is_earlier_T.nonzero().squeeze(1),
            earlier_offsets=offsets_B1 - last_offsets,
            last_offsets=last_offsets,
        )
