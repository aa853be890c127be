"""Ask a frame many questions: exact ranks over the catalogue, or scores of candidates; memory bounded by a budget."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hpgr.api.material import Material
from hpgr.core.batch import Candidates, History
from hpgr.core.errors import UnsupportedError
from hpgr.core.jagged import offsets_of
from hpgr.data.ranges import Queries
from hpgr.evaluation.ranks import RankCounts, rank_counts
from hpgr.retrieval.exact import top_k


@dataclass(frozen=True, kw_only=True, slots=True)
class Retrieved:
    """``counts``: ranks of the targets of ``Q`` questions; ``top_QK``: catalogue rows of each question's first K."""

    counts: RankCounts
    top_QK: np.ndarray


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranked:
    """``C`` scored candidates: ``score`` (log-odds where ``is_logit``), ``label``, ``request`` (row of the asking batch's
    source), ``item_rows`` of the catalogue."""

    score: np.ndarray
    label: np.ndarray
    request: np.ndarray
    item_rows: np.ndarray
    is_logit: bool


@torch.no_grad()
def retrieve(
    frame: Any,
    material: Material,
    queries: Queries,
    *,
    max_len: int,
    exclude_seen: bool,
    top: int,
    memory_mb: float = 256.0,
) -> Retrieved:
    """Score the whole catalogue for every question.

    At most ``memory_mb`` of scores stand in memory; the ranks do not depend on it.

    Raises: UnsupportedError if the frame does not score the catalogue.
    """
    if not hasattr(frame, "scores"):
        raise UnsupportedError("this model ranks given candidates; it does not score the catalogue")
    device = device_of(frame)
    rows_at_once = max(1, int(memory_mb * 2**20 / (4 * 4 * frame.num_items)))
    counts, tops = [], []
    for history, rows in material.query_batches(queries, max_len):
        for part in np.array_split(np.arange(len(rows)), -(-len(rows) // rows_at_once)):
            some = queries.take(rows[part])
            scores_BV = frame.scores(_users(history, part).to(device)).cpu()
            excluded = material.seen(some) if exclude_seen else None
            counts.append(rank_counts(scores_BV, material.targets(some), excluded=excluded, memory_mb=memory_mb))
            tops.append(top_k(scores_BV, top, excluded=excluded)[0].numpy())
    empty = np.zeros((0, min(top, frame.num_items)), dtype=np.int64)
    return Retrieved(counts=RankCounts.concat(counts), top_QK=np.concatenate(tops) if tops else empty)


@torch.no_grad()
def rank(frame: Any, batches: Iterable[tuple[History, Candidates, np.ndarray]]) -> Ranked:
    """Score the candidates of every request."""
    pieces, device = [], device_of(frame)
    for history, candidates, requests in batches:
        assert candidates.label is not None
        score = candidate_scores(frame, history.to(device), candidates.to(device)).cpu()
        request = requests[candidates.user_of_candidate().numpy()]
        pieces.append((score.double().numpy(), candidates.label[:, 0].numpy(), request, candidates.item_idx.numpy()))
    joined = [np.concatenate(column) for column in zip(*pieces)]
    return Ranked(
        score=joined[0], label=joined[1], request=joined[2], item_rows=joined[3], is_logit=hasattr(frame, "logits")
    )


def device_of(frame: Any) -> torch.device:
    """Where the model lies."""
    return next((tensor.device for tensor in frame.state_dict().values()), torch.device("cpu"))


def candidate_scores(frame: Any, history: History, candidates: Candidates) -> Tensor:
    """``[C]``: the first task's log-odds of a ranker; of a frame that only scores the catalogue, those scores.

    There an item outside the catalogue gets the user's lowest score: the frame cannot tell it from others.
    """
    if hasattr(frame, "logits"):
        return frame.logits(history, candidates)[:, 0]
    scores_BV = frame.scores(history)
    widened = torch.cat([scores_BV, scores_BV.min(1, keepdim=True).values], 1)
    return widened[candidates.user_of_candidate(), candidates.item_idx]


def _users(history: History, part: np.ndarray) -> History:
    """A run of consecutive users of a batch."""
    first, last = int(part[0]), int(part[-1]) + 1
    if first == 0 and last == history.num_users:
        return history
    start, stop = int(history.user_offsets[first]), int(history.user_offsets[last])
    borders = history.session_offsets[(history.session_offsets >= start) & (history.session_offsets <= stop)]
    return History(
        item_idx=history.item_idx[start:stop],
        time_ms=history.time_ms[start:stop],
        action=history.action[start:stop],
        user_offsets=offsets_of(history.lengths[first:last]),
        session_offsets=borders - start,
        now_ms=history.now_ms[first:last],
        session_open=history.session_open[first:last],
        features={name: column[start:stop] for name, column in history.features.items()},
    )
