"""Does the selection of preferred events tell anything? Watched in every ranking stage that selects.

``zero_shot_auc``: how well the mean similarity of a candidate to the events it selects tells clicked from not clicked,
with no ranker at all; ``lift_over_last`` and ``lift_over_random``: that minus the same with the newest, or random, events.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F

from hpgr.api.asking import device_of
from hpgr.core.batch import Candidates, History
from hpgr.evaluation.classification import auc
from hpgr.nn.preference import PreferenceSelector

_BATCHES = 20


@torch.no_grad()
def selection_monitors(frame: Any, batches: Iterable[tuple[History, Candidates, np.ndarray]]) -> dict[str, float]:
    """The three monitors on the first batches; nothing for a ranker that selects nothing."""
    config = getattr(getattr(frame, "ranker", frame).encoder.config, "selection", None)
    if config is None:
        return {}
    some = list(islice(batches, _BATCHES))
    similar, last, random = (zero_shot_auc(frame, some, config, by) for by in ("similar", "last", "random"))
    if similar is None or last is None or random is None:
        return {}
    return {"zero_shot_auc": similar, "lift_over_last": similar - last, "lift_over_random": similar - random}


@torch.no_grad()
def zero_shot_auc(
    frame: Any,
    batches: Iterable[tuple[History, Candidates, np.ndarray]],
    config: PreferenceSelector.Config,
    by: Literal["similar", "last", "random"],
) -> float | None:
    """The AUC of the mean cosine of each candidate to the ``k`` events chosen ``by``; None where labels are all alike."""
    recency = config.recency if by == "similar" else 0.0
    chosen = replace(config, by=by, learn_sigma=False, learn_query=False, recency=recency)
    scores, labels, device = [], [], device_of(frame)
    for history, candidates, _ in batches:
        history, candidates = history.to(device), candidates.to(device)
        signal = frame.signal(history, candidates)
        history_TD, candidates_CD = signal.history_TD, signal.candidates_CD
        rows_CK = chosen.build(dim=history_TD.shape[1]).centres(
            candidates_CD, history_TD, history.user_offsets, candidates.offsets, cold_C=signal.cold_C
        )
        there_CK = rows_CK >= 0
        if not history.num_events:
            continue
        chosen_CKD = F.normalize(history_TD, dim=-1)[rows_CK.clamp(min=0)]
        cosine_CK = torch.einsum("cd,ckd->ck", F.normalize(candidates_CD, dim=-1), chosen_CKD) * there_CK
        scores.append((cosine_CK.sum(1) / there_CK.sum(1).clamp(min=1)).double().cpu().numpy())
        assert candidates.label is not None
        labels.append(candidates.label[:, 0].cpu().numpy())
    label = np.concatenate(labels) if labels else np.zeros(0)
    if not 0 < label.sum() < len(label):
        return None
    return auc(np.concatenate(scores), label)
