"""The tensors of one ``candidate_attention``, checked together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from hpgr.core.errors import ConfigError
from hpgr.ops.length_blocks import gathered
from hpgr.ops.weighing import Kind, Weighing, check_heads, check_offsets

Listed: TypeAlias = tuple[Tensor, Tensor]
Boost: TypeAlias = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Reading:
    """Candidates, the history that they read, and what limits or stresses parts of it; see ``candidate_attention``."""

    q_CHK: Tensor
    k_THK: Tensor
    v_THK: Tensor
    own_k_CHK: Tensor
    own_v_CHK: Tensor
    user_offsets_B1: Tensor
    candidate_offsets_B1: Tensor
    listed: Listed | None
    boost: Boost | None
    key_time_T: Tensor | None
    query_time_C: Tensor | None

    def own(self, weighing: Weighing) -> Tensor:
        """``[C, H, V]``: what silu weights read in each candidate's own column."""
        scores_CH1 = (self.q_CHK * self.own_k_CHK).sum(-1, keepdim=True) * weighing.scale
        if weighing.bias is not None:
            query_C = torch.arange(scores_CH1.shape[0], device=scores_CH1.device)
            scores_CH1 = scores_CH1 + weighing.bias.own(query_C)[:, None, None]
        return F.silu(scores_CH1) * (self.own_v_CHK / weighing.divisor)

    def earlier(self, rows_CW: Tensor) -> Tensor:
        """``rows_CW`` without the events that a candidate's time does not come after: -1."""
        if self.key_time_T is None or self.query_time_C is None:
            return rows_CW
        time_CW = gathered(self.key_time_T, rows_CW.clamp(min=0))
        return rows_CW.masked_fill(time_CW >= self.query_time_C[:, None], -1)

    def check(self, weights: Kind) -> None:
        """Raises: ValueError for shapes that do not fit; ConfigError for options that exclude each other."""
        if self.listed is not None and self.boost is not None:
            raise ConfigError("listed and boost (both given) must not be combined; give the one that the model uses")
        if self.boost is not None and weights != "silu":
            raise ConfigError(f"boost (given) must be None with {weights} weights; use silu weights or listed rows")
        if (self.key_time_T is None) != (self.query_time_C is None):
            raise ConfigError("key_time_T and query_time_C (one given) must be given together")
        self._check_rows()
        self._check_lists()

    def _check_rows(self) -> None:
        count = self.q_CHK.shape[0]
        check_heads(self.q_CHK, self.k_THK, self.v_THK, same_rows=False)
        check_heads(self.q_CHK, self.own_k_CHK, self.own_v_CHK, same_rows=True)
        if self.own_v_CHK.shape[2] != self.v_THK.shape[2]:
            raise ValueError(f"own_v width ({self.own_v_CHK.shape[2]}) must be the width of v ({self.v_THK.shape[2]})")
        check_offsets("user_offsets", self.user_offsets_B1, self.k_THK.shape[0])
        check_offsets("candidate_offsets", self.candidate_offsets_B1, count)
        users, asked = self.user_offsets_B1.shape[0] - 1, self.candidate_offsets_B1.shape[0] - 1
        if users != asked:
            raise ValueError(f"candidate_offsets ({asked} users) must have as many users as user_offsets ({users})")

    def _check_lists(self) -> None:
        count = self.q_CHK.shape[0]
        for name, rows, gate in (
            ("listed", *(self.listed or (None, None))),
            ("boost", *(self.boost or (None,) * 2)[:2]),
        ):
            if rows is not None and not (rows.ndim == 2 and rows.shape == gate.shape and rows.shape[0] == count):
                raise ValueError(
                    f"{name} rows {tuple(rows.shape)} and gate {tuple(gate.shape)} must both be ({count}, W), "
                    "a list for each candidate"
                )
        if self.boost is not None and self.boost[2].shape != self.q_CHK.shape[1:2]:
            raise ValueError(
                f"boost beta {tuple(self.boost[2].shape)} must have one value a head ({self.q_CHK.shape[1]})"
            )
