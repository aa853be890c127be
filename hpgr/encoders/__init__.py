"""From item vectors to states: a file per architecture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from hpgr.core.batch import Candidates, History
from hpgr.core.jagged import Jagged


class Encoder(Protocol):
    """``(T, D)`` in, ``(T, D)`` out, same offsets; sees the history's times and sessions, never its items.

    Its config says by ``causal`` whether a state knows nothing of later events; silence means that it may.
    """

    def __call__(self, x: Jagged, history: History) -> Jagged: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Signal:
    """What preference selection compares: vectors of the pre-trained space and the candidates it cannot place.

    ``history_TD`` and ``candidates_CD``; ``cold_C`` bool: candidates outside the catalogue.
    """

    history_TD: Tensor
    candidates_CD: Tensor
    cold_C: Tensor


class CandidateEncoder(Protocol):
    """``x`` (T, D) and ``x_candidates`` (C, D) to the candidates' states ``[C, D]``; candidates never see each other."""

    def __call__(
        self, x: Jagged, x_candidates: Jagged, history: History, candidates: Candidates, signal: Signal
    ) -> Tensor: ...
