"""Approximate search with FAISS: Douze et al., arXiv:2401.08281. Needs the extra ``ann``.

What FAISS finds is scored again with the vectors themselves, so that scores and their order are exact; what it does not find
is what recall tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hpgr.core.errors import ConfigError, UnsupportedError
from hpgr.core.jagged import Jagged
from hpgr.retrieval.exact import ExactIndex

_ROWS_AT_ONCE = 1 << 17


@dataclass(frozen=True, kw_only=True, slots=True)
class Flat:
    """Every item, compared one by one; as exact as float32."""

    refine: int = 1

    def __post_init__(self) -> None:
        _check(self, "refine")

    def empty(self, faiss: Any, dim: int, num_items: int) -> Any:
        return faiss.IndexFlatIP(dim)


@dataclass(frozen=True, kw_only=True, slots=True)
class Hnsw:
    """A graph of near items (Malkov & Yashunin, arXiv:1603.09320): ``links`` of an item, found with ``build_effort``
    candidates; ``effort``: candidates at a search. Fast and exact to a few percent; memory a little above the vectors'."""

    links: int = 32
    build_effort: int = 80
    effort: int = 128
    refine: int = 1

    def __post_init__(self) -> None:
        _check(self, "links", "build_effort", "effort", "refine")

    def empty(self, faiss: Any, dim: int, num_items: int) -> Any:
        index = faiss.IndexHNSWFlat(dim, self.links, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction, index.hnsw.efSearch = self.build_effort, self.effort
        return index


@dataclass(frozen=True, kw_only=True, slots=True)
class IvfPq:
    """Codes of ``code_bytes`` in lists by nearest centre (Jégou et al., TPAMI 2011): least memory. ``lists``: None for √V, a
    search reads ``probes`` of them; ``refine`` times as many items as asked for are scored with their vectors.
    Centres are learnt from ``train_rows`` of a list."""

    lists: int | None = None
    probes: int = 32
    code_bytes: int = 16
    refine: int = 10
    train_rows: int = 64

    def __post_init__(self) -> None:
        _check(self, "probes", "code_bytes", "refine", "train_rows")
        if self.lists is not None:
            _check(self, "lists")

    def empty(self, faiss: Any, dim: int, num_items: int) -> Any:
        lists = min(self.lists or max(1, round(num_items**0.5)), max(1, num_items // 40))
        # Fewer items than a code has values leave nothing to learn from.
        bits = max(1, min(8, num_items.bit_length() - 1))
        quantiser = faiss.IndexFlatIP(dim)
        index = faiss.IndexIVFPQ(quantiser, dim, lists, self.code_bytes, bits, faiss.METRIC_INNER_PRODUCT)
        index.nprobe = min(self.probes, lists)
        index.cp.min_points_per_centroid, index.pq.cp.min_points_per_centroid = 1, 1
        return index


class FaissIndex:
    """An index over ``table_VD`` and ``bias_V``, built at once.

    ``recall``: share of the exact first ``k`` items that it finds for the sample ``query``; nan without a query.

    Raises: UnsupportedError without FAISS.
    """

    def __init__(
        self,
        kind: Flat | Hnsw | IvfPq,
        table_VD: Tensor,
        bias_V: Tensor | None = None,
        *,
        query: Tensor,
        k: int = 10,
    ) -> None:
        faiss = _faiss()
        self.kind, self._table_VD, self._bias_V = kind, table_VD.detach(), None if bias_V is None else bias_V.detach()
        num_items, dim = table_VD.shape
        dim += bias_V is not None
        step = kind.code_bytes if isinstance(kind, IvfPq) else 1
        self._width = -(-dim // step) * step
        self._index = kind.empty(faiss, self._width, num_items)
        if isinstance(kind, IvfPq):
            rows = torch.randperm(num_items, generator=torch.Generator().manual_seed(0))
            count = max(kind.train_rows * self._index.nlist, 256 * 40)
            self._index.train(self._vectors(rows[:count]).numpy())
        for start in range(0, num_items, _ROWS_AT_ONCE):
            self._index.add(self._vectors(slice(start, start + _ROWS_AT_ONCE)).numpy())
        exact, _ = ExactIndex(table_VD, bias_V).search(query, k)
        found, _ = self.search(query, k)
        self.recall = float((exact[:, :, None] == found[:, None, :]).any(2).float().mean())

    @torch.no_grad()
    def search(self, query: Tensor, k: int, *, excluded: Jagged | None = None) -> tuple[Tensor, Tensor]:
        """As ``Index.search``; a row that is missing is -1. What any vector of a user finds is scored with all of them."""
        num_users, num_items = query.shape[0], self._table_VD.shape[0]
        k = min(k, num_items)
        if not num_users or not k:
            return torch.zeros((num_users, k), dtype=torch.int64), query.new_zeros((num_users, k))
        more = 0 if excluded is None else int(excluded.lengths.max())
        query_BQD = query[:, None] if query.dim() == 2 else query
        asked = query_BQD.flatten(0, 1)
        wide = self._widened(asked, None if self._bias_V is None else asked.new_ones(len(asked)))
        _, found = self._index.search(wide.numpy(), min(k * self.kind.refine + more, num_items))
        rows_BR = torch.from_numpy(found).view(num_users, -1).sort(dim=1).values
        at_BR = rows_BR.clamp(min=0)
        scores_BR = torch.einsum("bqd,brd->bqr", query_BQD, self._table_VD[at_BR]).amax(1)
        if self._bias_V is not None:
            scores_BR = scores_BR + self._bias_V[at_BR]
        gone_BR = rows_BR < 0
        gone_BR[:, 1:] |= rows_BR[:, 1:] == rows_BR[:, :-1]
        if excluded is not None:
            user_N = excluded.row_of()
            gone_BR |= torch.isin(
                rows_BR + torch.arange(num_users)[:, None] * num_items,
                (excluded.values + user_N * num_items)[(excluded.values >= 0) & (excluded.values < num_items)],
            )
        scores_BR = scores_BR.masked_fill(gone_BR, -torch.inf)
        scores_BR, order = scores_BR.sort(dim=1, descending=True, stable=True)
        rows_BR = rows_BR.masked_fill(gone_BR, -1).gather(1, order)
        return rows_BR[:, :k], scores_BR[:, :k]

    def _vectors(self, rows: Tensor | slice) -> Tensor:
        return self._widened(self._table_VD[rows], None if self._bias_V is None else self._bias_V[rows])

    def _widened(self, vectors: Tensor, last: Tensor | None) -> Tensor:
        """With the bias as one more dimension, and zeros up to what codes need."""
        if last is not None:
            vectors = torch.cat([vectors, last[:, None]], 1)
        return torch.nn.functional.pad(vectors, (0, self._width - vectors.shape[1])).float().contiguous()


def _check(kind: Any, *names: str) -> None:
    for name in names:
        if getattr(kind, name) < 1:
            raise ConfigError(f"{name} ({getattr(kind, name)}) must be at least 1")


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise UnsupportedError("faiss (not installed) must be there for this index; pip install 'hpgr[ann]'") from None
    # Its threads are its own; as many as torch has been given.
    faiss.omp_set_num_threads(torch.get_num_threads())
    return faiss
