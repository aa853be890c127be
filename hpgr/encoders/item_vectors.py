"""No encoder: an event's state is its item's vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from hpgr.core.batch import History
from hpgr.core.jagged import Jagged


class ItemVectors(nn.Module):
    """For models whose heads read the bare items. ``ordered`` False: nothing here tells in which order events came."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        causal: ClassVar[bool] = True
        ordered: ClassVar[bool] = False

        def build(self, *, dim: int) -> ItemVectors:
            return ItemVectors()

    def forward(self, x: Jagged, history: History) -> Jagged:
        """``(T, D)``, as it came."""
        return x
