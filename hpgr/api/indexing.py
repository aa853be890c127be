"""An index over a trained model's catalogue, by name, with its recall for users who are asked about."""

from __future__ import annotations

import numpy as np
import torch

from hpgr.answering.answerer import Answerer
from hpgr.core.errors import UnknownNameError, UnsupportedError
from hpgr.data.asked_histories import AskedHistories
from hpgr.retrieval import Index
from hpgr.retrieval.exact import ExactIndex
from hpgr.retrieval.faiss_index import FaissIndex, Flat, Hnsw, IvfPq

_KINDS: dict[str, Flat | Hnsw | IvfPq | None] = {"exact": None, "flat": Flat(), "hnsw": Hnsw(), "ivfpq": IvfPq()}


@torch.no_grad()
def built_index(answerer: Answerer, asked: AskedHistories, kind: str | Flat | Hnsw | IvfPq, k: int) -> Index:
    """See ``Recommender.index``; ``asked``: the sample that recall is measured on.

    Raises: UnknownNameError for a name that is no index's; UnsupportedError where the model has no vectors.
    """
    if isinstance(kind, str) and kind not in _KINDS:
        raise UnknownNameError.of("index", kind, _KINDS)
    chosen = _KINDS[kind] if isinstance(kind, str) else kind
    if not hasattr(answerer.frame, "catalogue_vectors"):
        raise UnsupportedError("index must have vectors to search, which this model has not; leave it out")
    table_VD, bias_V = answerer.frame.catalogue_vectors()
    if chosen is None:
        return ExactIndex(table_VD, bias_V)
    history = answerer.history(asked, np.arange(len(asked.users)))
    return FaissIndex(chosen, table_VD, bias_V, query=answerer.frame.query_vectors(history), k=k)
