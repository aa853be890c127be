"""An index over a shelf, with its recall for histories that are made of the catalogue's own items."""

from __future__ import annotations

import numpy as np
import torch

from hpgr.answering.answerer import Answerer
from hpgr.answering.indexing import built_index
from hpgr.retrieval import Index
from hpgr.serving.asked import Told, asked_histories
from hpgr.serving.events import Mark, Stored, UserLog
from hpgr.serving.reading import Reading
from hpgr.serving.shelf import Shelf
from hpgr.serving.user_history import UserHistory

_SAMPLED, _LENGTH = 100, 20


@torch.no_grad()
def sampled_index(kind: str, shelf: Shelf, answerer: Answerer, reading: Reading, end_ms: int) -> Index:
    """The index named ``kind``; histories are drawn, evenly, to end at ``end_ms``."""
    trained = shelf.store_rows[: shelf.num_trained]
    drawn = np.random.default_rng(0).choice(trained[trained >= 0], (_SAMPLED, _LENGTH))
    told = []
    for rows in drawn.tolist():
        events = [
            Stored(i, end_ms - 60_000 * (_LENGTH - i), reading.ids[row], None, None) for i, row in enumerate(rows, 1)
        ]
        log = UserLog(mark=Mark("sample", 0), rows=events, whole=True)
        told.append(Told.until(UserHistory.of(log, reading), end_ms + 1))
    asked = asked_histories(told, reading.rule, answerer.max_len)
    query_QD = answerer.frame.query_vectors(answerer.history(asked, np.arange(_SAMPLED)))
    return built_index(kind, *shelf.vectors, query_QD=query_QD)
