"""An index over a trained model's catalogue, by name, with its recall for users who are asked about."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hpgr.answering.answerer import Answerer
from hpgr.core.errors import UnknownNameError, UnsupportedError
from hpgr.data.asked_histories import AskedHistories
from hpgr.retrieval import Index
from hpgr.retrieval.exact import ExactIndex
from hpgr.retrieval.faiss_index import FaissIndex, Flat, Hnsw, IvfPq

_KINDS: dict[str, Flat | Hnsw | IvfPq | None] = {"exact": None, "flat": Flat(), "hnsw": Hnsw(), "ivfpq": IvfPq()}


INDEXES = tuple(_KINDS)


@torch.no_grad()
def index_of(answerer: Answerer, asked: AskedHistories, kind: str | Flat | Hnsw | IvfPq, k: int) -> Index:
    """See ``Recommender.index``; ``asked``: the sample that recall is measured on.

    Raises: UnknownNameError for a name that is no index's; UnsupportedError where the model has no vectors.
    """
    if not hasattr(answerer.frame, "catalogue_vectors"):
        _chosen(kind)
        raise UnsupportedError("index must have vectors to search, which this model has not; leave it out")
    query_QD = answerer.frame.query_vectors(answerer.history(asked, np.arange(len(asked.users))))
    return built_index(kind, *answerer.frame.catalogue_vectors(), query_QD=query_QD, k=k)


def built_index(
    kind: str | Flat | Hnsw | IvfPq, table_VD: Tensor, bias_V: Tensor | None, *, query_QD: Tensor, k: int = 10
) -> Index:
    """Over vectors and biases; ``query_QD``: the sample that recall is measured on.

    Raises: UnknownNameError for a name that is no index's; UnsupportedError without the extra that it needs.
    """
    chosen = _chosen(kind)
    if chosen is None:
        return ExactIndex(table_VD, bias_V)
    return FaissIndex(chosen, table_VD, bias_V, query_QD=query_QD, k=k)


def _chosen(kind: str | Flat | Hnsw | IvfPq) -> Flat | Hnsw | IvfPq | None:
    if isinstance(kind, str) and kind not in _KINDS:
        raise UnknownNameError.of("index", kind, _KINDS)
    return _KINDS[kind] if isinstance(kind, str) else kind
