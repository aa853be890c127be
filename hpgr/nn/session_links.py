"""How much two items belong together: counts of the sessions that have both, normalised on both sides.

Source: the spreading component of ACT-R in Tran et al., RecSys 2024, arXiv:2408.16578. Departs: of a long session only songs
less than ``reach`` places apart are counted, where the article keeps the first 10 of each; the table is sparse.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hpgr.core.errors import ConfigError
from hpgr.core.jagged import row_of
from hpgr.ops.base_level.plays import first_plays
from hpgr.ops.keyed_sums import KeyedSums

# A pair is a key: the one item times this plus the other.
_ROWS = 2**31


class SessionLinks(nn.Module):
    """``D^-½ A D^-½`` of the counts ``A`` of sessions with both items: symmetric, no item with itself, no eigenvalue beyond ±1.

    0 for all pairs until ``count`` has seen the training sessions.
    """

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """Different items of a session are linked where they came less than ``reach`` places apart."""

        reach: int = 20

        def __post_init__(self) -> None:
            if self.reach < 2:
                raise ConfigError(f"reach ({self.reach}) must be at least 2; nothing else is near")

        def build(self) -> SessionLinks:
            return SessionLinks(self)

    key_P: Tensor
    weight_P: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("key_P", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("weight_P", torch.zeros(0))

    @torch.no_grad()
    def count(self, sessions: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Count anew in parts ``(item_T, session_offsets_S1)`` of the training sessions."""
        sums = KeyedSums()
        for item_T, offsets in sessions:
            pairs_N = self._pairs(item_T, offsets)
            sums.add(pairs_N, torch.ones_like(pairs_N))
        key_P, count_P = sums.found()
        # Every pair is there in both directions, so that each item is the first of some pair.
        item_D, at_P = (key_P // _ROWS).unique_consecutive(return_inverse=True)
        degree_D = torch.zeros(len(item_D), dtype=torch.float64).index_add_(0, at_P, count_P)
        to_P = torch.searchsorted(item_D, key_P % _ROWS)
        weight_P = count_P / (degree_D[at_P] * degree_D[to_P]).sqrt()
        self.key_P, self.weight_P = key_P.to(self.key_P.device), weight_P.float().to(self.weight_P.device)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """The weight of each pair of items, both int64 of one shape."""
        if not self.key_P.shape[0]:
            return torch.zeros(left.shape, device=left.device)
        key = left * _ROWS + right
        at = torch.searchsorted(self.key_P, key).clamp(max=self.key_P.shape[0] - 1)
        return self.weight_P[at] * (self.key_P[at] == key)

    def links(self) -> tuple[Tensor, Tensor, Tensor]:
        """``(from_P, to_P, weight_P)``, ordered by ``from`` and ``to``."""
        return self.key_P // _ROWS, self.key_P % _ROWS, self.weight_P

    def _pairs(self, item_T: Tensor, offsets: Tensor) -> Tensor:
        first = first_plays(item_T, offsets) == torch.arange(item_T.shape[0], device=item_T.device)
        item_F, session_F = item_T[first], row_of(offsets, item_T.shape[0])[first]
        pieces = [item_F[:0]]
        for back in range(1, min(self.config.reach, len(item_F))):
            met = session_F[back:] == session_F[:-back]
            left, right = item_F[back:][met], item_F[:-back][met]
            pieces += [left * _ROWS + right, right * _ROWS + left]
        return torch.cat(pieces)

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *rest: Any) -> None:
        # There are as many pairs as training showed.
        for name in ("key_P", "weight_P"):
            if prefix + name in state:
                setattr(self, name, torch.empty_like(state[prefix + name], device=getattr(self, name).device))
        super()._load_from_state_dict(state, prefix, *rest)
