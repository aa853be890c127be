"""Which history events a candidate prefers, and how strongly.

Source: preference-guided sparse attention, Chen et al., WWW 2026, arXiv:2603.00980.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hpgr.core.errors import ConfigError
from hpgr.core.jagged import position_in_row, row_of
from hpgr.ops.gaussian_gate import gaussian_gate
from hpgr.ops.hashed_positions import check_bits, hashed_positions, sign_codes
from hpgr.ops.nearest_positions import nearest_positions


class PreferenceSelector(nn.Module):
    """Chooses up to ``k`` events a candidate and puts a Gaussian round each: rows and gates for the attention ops."""

    @dataclass(frozen=True, kw_only=True, slots=True)
    class Config:
        """``k`` events and a Gaussian of width ``sigma`` places round each, cut below ``floor``; 0 is hard, infinite is
        all.

        ``by``: similarity to the candidate, ``hashed``: the same estimated from ``bits`` signs, or the controls: the
        newest events, or a fixed pseudo-random choice of places, the same for all candidates of a user. ``cosine``
        False: raw dot product. ``weighting`` ``score``: the softmax of the chosen similarities, at most 1.
        ``same_session``: a Gaussian ends at the border of its session. ``learn_sigma``: the width is trained, starting
        at ``sigma``. ``recency``: what an event loses of its cosine for each doubling of its place from the newest.
        ``learn_query``: a candidate is compared as a trained matrix, at first the identity, makes it; it learns through
        the weights ``score``, and how long a cosine's vector comes out is how sharply they tell events apart.
        """

        k: int = 16
        sigma: float = 1.0
        floor: float = 0.01
        by: Literal["similar", "hashed", "last", "random"] = "similar"
        bits: int = 256
        cosine: bool = True
        aggregate: Literal["sum", "max"] = "sum"
        weighting: Literal["one", "score"] = "one"
        same_session: bool = False
        learn_sigma: bool = False
        recency: float = 0.0
        learn_query: bool = False

        def __post_init__(self) -> None:
            if self.k < 1:
                raise ConfigError(f"k ({self.k}) must be at least 1")
            if not self.sigma >= 0:
                raise ConfigError(f"sigma ({self.sigma}) must not be negative")
            if not 0 < self.floor <= 1:
                raise ConfigError(f"floor ({self.floor}) must lie above 0 and not above 1")
            if self.learn_sigma and not 0 < self.sigma < math.inf:
                raise ConfigError(f"sigma ({self.sigma}) must be positive and finite where it is learned")
            if self.recency < 0:
                raise ConfigError(f"recency ({self.recency}) must not be negative")
            if self.recency and not (self.by == "similar" and self.cosine):
                raise ConfigError(f"recency ({self.recency}) must be 0 unless by is similar and cosine True")
            if self.learn_query and not (self.by == "similar" and self.weighting == "score"):
                raise ConfigError(
                    f"learn_query ({self.learn_query}) must be False unless by is similar and weighting score, through which "
                    "it learns"
                )
            check_bits(self.bits)
            if self.by == "hashed" and not self.cosine:
                raise ConfigError("cosine (False) must be True where by is hashed; signs know no length")
            for name, known in (
                ("by", ("similar", "hashed", "last", "random")),
                ("aggregate", ("sum", "max")),
                ("weighting", ("one", "score")),
            ):
                if getattr(self, name) not in known:
                    raise ConfigError(f"{name} ({getattr(self, name)}) must be one of {', '.join(known)}")

        def build(self, *, dim: int) -> PreferenceSelector:
            return PreferenceSelector(self, dim)

    def __init__(self, config: Config, dim: int) -> None:
        super().__init__()
        self.config = config
        self.query_DD = nn.Parameter(torch.eye(dim)) if config.learn_query else None
        # Trained through its logarithm, so that it stays positive.
        self.log_sigma = nn.Parameter(torch.tensor(math.log(config.sigma))) if config.learn_sigma else None

    @property
    def sigma(self) -> float | Tensor:
        """The width of the Gaussian, in places."""
        return self.config.sigma if self.log_sigma is None else self.log_sigma.exp()

    def forward(
        self,
        candidates_CD: Tensor,
        history_TD: Tensor,
        user_offsets: Tensor,
        candidate_offsets: Tensor,
        *,
        cold_C: Tensor,
        session_T: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """``(rows_CW, gate_CW)``: rows of the history, each once, and gates in (0, 1]; then -1 and 0.

        No gradient reaches the vectors. ``cold_C`` bool: candidates without a place in that space; they
        prefer the newest events. ``session_T`` int64: the session of every event.
        """
        candidates_CD, history_TD = candidates_CD.detach(), history_TD.detach()
        rows_CK = self.centres(candidates_CD, history_TD, user_offsets, candidate_offsets, cold_C=cold_C)
        return gaussian_gate(
            rows_CK,
            self._weights(candidates_CD, history_TD, rows_CK),
            user_offsets,
            sigma=self.sigma,
            floor=self.config.floor,
            aggregate=self.config.aggregate,
            session_T=session_T if self.config.same_session else None,
            num_rows=history_TD.shape[0],
        )

    def centres(
        self,
        candidates_CD: Tensor,
        history_TD: Tensor,
        user_offsets: Tensor,
        candidate_offsets: Tensor,
        *,
        cold_C: Tensor,
    ) -> Tensor:
        """``rows_CK`` int64: the chosen events, -1 where there are fewer than ``k``."""
        last_CK = _last(user_offsets, candidate_offsets, candidates_CD.shape[0], self.config.k)
        if self.config.by == "last":
            return last_CK
        if self.config.by == "hashed":
            query_CW, key_TW = (sign_codes(x, self.config.bits) for x in (candidates_CD, history_TD))
            near_CK = hashed_positions(query_CW, key_TW, user_offsets, candidate_offsets, self.config.k)
            return torch.where(cold_C[:, None], last_CK, near_CK)
        query_CD, key_TD, cosine = self.asked(candidates_CD), history_TD, self.config.cosine
        if self.config.by == "random":
            query_CD, key_TD, cosine = torch.ones_like(candidates_CD[:, :1]), _noise(user_offsets, history_TD), False
        elif self.config.recency:
            # One column more on either side: a cosine and what age takes from it are one product.
            lost_T1 = -self.config.recency * _doublings(user_offsets, history_TD)
            query_CD = torch.cat([F.normalize(query_CD.double(), dim=-1), query_CD.new_ones(len(query_CD), 1)], 1)
            key_TD, cosine = torch.cat([F.normalize(key_TD.double(), dim=-1), lost_T1], 1), False
        near_CK = nearest_positions(query_CD, key_TD, user_offsets, candidate_offsets, self.config.k, cosine=cosine)
        return near_CK if self.config.by == "random" else torch.where(cold_C[:, None], last_CK, near_CK)

    def asked(self, candidates_CD: Tensor) -> Tensor:
        """``[C, D]``: the candidates as events are held against them."""
        if self.query_DD is None:
            return candidates_CD
        return (F.normalize(candidates_CD, dim=-1) if self.config.cosine else candidates_CD) @ self.query_DD.T

    def _weights(self, candidates_CD: Tensor, history_TD: Tensor, rows_CK: Tensor) -> Tensor:
        there_CK = rows_CK >= 0
        if self.config.weighting == "one" or not history_TD.shape[0]:
            return there_CK.to(history_TD.dtype)
        query_CD = self.asked(candidates_CD)
        if self.config.cosine:
            query_CD = F.normalize(query_CD, dim=-1) if self.query_DD is None else query_CD
            history_TD = F.normalize(history_TD, dim=-1)
        chosen_CKD = history_TD[rows_CK.clamp(min=0)]
        score_CK = (chosen_CKD @ query_CD[:, :, None]).squeeze(-1).masked_fill(~there_CK, -torch.inf)
        # A softmax rescaled to a maximum of 1 is the exponential of the distance to the best score.
        best_C1 = score_CK.amax(1, keepdim=True).clamp(min=torch.finfo(score_CK.dtype).min)
        return (score_CK - best_C1).exp()


def _last(user_offsets: Tensor, candidate_offsets: Tensor, num_candidates: int, k: int) -> Tensor:
    """``[C, k]``: the newest rows of each candidate's user, newest first."""
    user_C = row_of(candidate_offsets, num_candidates)
    rows_CK = user_offsets[user_C + 1, None] - 1 - torch.arange(k, device=user_offsets.device)
    return rows_CK.masked_fill(rows_CK < user_offsets[user_C, None], -1)


def _doublings(user_offsets: Tensor, history_TD: Tensor) -> Tensor:
    """``[T, 1]``: log2 of each event's place from its user's newest, which has place 1."""
    num_events = history_TD.shape[0]
    stop_T = user_offsets[1:][row_of(user_offsets, num_events)]
    return (stop_T - torch.arange(num_events, device=stop_T.device)).double().log2()[:, None]


def _noise(user_offsets: Tensor, history_TD: Tensor) -> Tensor:
    """``[T, 1]`` in [0, 1): a scrambling of each event's place in its row, the same in every batch."""
    scrambled_T = ((position_in_row(user_offsets, history_TD.shape[0]) + 1) * 2654435761) % 2**32
    return scrambled_T[:, None].float() / 2**32
