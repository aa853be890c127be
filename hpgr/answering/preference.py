"""Which events of a history a model reads by preference for a candidate: what its selection compares, and what it chose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hpgr.core.batch import Candidates, History


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Preference:
    """``rows_CW``: events that a candidate's attention lifts, -1 for none, with ``gate_CW`` in (0, 1] and the
    ``similarity_CW`` that selection goes by, in [-1, 1]."""

    rows_CW: Tensor
    gate_CW: Tensor
    similarity_CW: Tensor


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class PreferenceMask:
    """For one candidate and a history of ``T`` events: ``similarity_T`` in [-1, 1], the cosine that selection goes by;
    ``chosen_T`` bool, the centres; ``gate_T`` in [0, 1], what the Gaussians round them add up to. ``only``: events with a gate
    of 0 are not read at all; else all are, and a gate lifts. ``most``: centres that a candidate may have. ``cold``: it has no
    place in the compared space."""

    similarity_T: Tensor
    chosen_T: Tensor
    gate_T: Tensor
    only: bool
    most: int
    cold: bool


def preference(frame: Any, history: History, candidates: Candidates) -> Preference | None:
    """What each candidate prefers; None for a model without preference selection."""
    encoder = _encoder(frame)
    if encoder is None:
        return None
    signal = frame.signal(history, candidates)
    found = encoder.selected(history, candidates, signal)
    if found is None:
        return None
    rows_CW, gate_CW = found
    query_CD, event_TD = _directions(encoder, signal)
    similarity_CW = torch.einsum("cd,cwd->cw", query_CD, event_TD[rows_CW.clamp(min=0)])
    return Preference(rows_CW=rows_CW, gate_CW=gate_CW, similarity_CW=similarity_CW)


@torch.no_grad()
def preference_mask(frame: Any, history: History, candidates: Candidates) -> PreferenceMask | None:
    """The mask of a single candidate over the whole history; None for a model without preference selection."""
    encoder = _encoder(frame)
    if encoder is None or encoder.selector is None:
        return None
    signal = frame.signal(history, candidates)
    found = encoder.selected(history, candidates, signal)
    centres_1K = encoder.selector.centres(
        signal.candidates_CD, signal.history_TD, history.user_offsets, candidates.offsets, cold_C=signal.cold_C
    )
    query_1D, event_TD = _directions(encoder, signal)
    chosen_T = torch.zeros(history.num_events, dtype=torch.bool)
    chosen_T[centres_1K[0][centres_1K[0] >= 0]] = True
    gate_T, there_W = torch.zeros(history.num_events), found[0][0] >= 0
    gate_T[found[0][0][there_W]] = found[1][0][there_W].float()
    return PreferenceMask(
        similarity_T=event_TD @ query_1D[0],
        chosen_T=chosen_T,
        gate_T=gate_T,
        only=encoder.beta_LH is None,
        most=encoder.selector.config.k,
        cold=bool(signal.cold_C[0]),
    )


def _directions(encoder: Any, signal: Any) -> tuple[Tensor, Tensor]:
    """What selection takes cosines of: candidates ``[C, D]`` and events ``[T, D]``, of length one."""
    return F.normalize(encoder.selector.asked(signal.candidates_CD), dim=-1), F.normalize(signal.history_TD, dim=-1)


def _encoder(frame: Any) -> Any:
    encoder = getattr(getattr(frame, "ranker", frame), "encoder", None)
    return encoder if hasattr(encoder, "selected") else None
