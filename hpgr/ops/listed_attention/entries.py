"""Lists without their padding: scores and sums that touch a key or value once an entry and never copy them in lists."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from hpgr.ops.weighing import PairBias


@dataclass(frozen=True, slots=True, eq=False)
class Entries:
    """``E`` entries end to end: ``row_E`` the row that is read, ``offsets_N1`` where each query's begin; of ``num_rows``."""

    row_E: Tensor
    offsets_N1: Tensor
    num_rows: int

    @classmethod
    def of(cls, rows_NW: Tensor, num_rows: int) -> tuple[Entries, Tensor]:
        """The entries of lists in which -1 is nothing, and their places in the flattened lists."""
        there_NW = rows_NW >= 0
        place_E = there_NW.flatten().nonzero().squeeze(1)
        offsets_N1 = F.pad(there_NW.sum(1).cumsum(0), (1, 0))
        return cls(rows_NW.flatten().index_select(0, place_E), offsets_N1, num_rows), place_E

    def query_E(self) -> Tensor:
        """The query that each entry belongs to."""
        queries = torch.arange(self.offsets_N1.shape[0] - 1, device=self.row_E.device)
        return torch.repeat_interleave(queries, self.offsets_N1.diff(), output_size=self.row_E.shape[0])

    def turned(self) -> tuple[Entries, Tensor]:
        """The same pairs listed by the row that is read, and the order of the entries that makes them so."""
        order_E = self.row_E.argsort()
        per_row = torch.bincount(self.row_E, minlength=self.num_rows)
        queries = Entries(self.query_E()[order_E], F.pad(per_row.cumsum(0), (1, 0)), self.offsets_N1.shape[0] - 1)
        return queries, order_E

    def products(self, q_HNK: Tensor, k_HTK: Tensor) -> Tensor:
        """``[H, E]``: the product of each entry's query and row."""
        num_queries = self.offsets_N1.shape[0] - 1
        # Pairs beyond the number of cells, of rows that are listed often, need empty rows to be allowed.
        more = -(-self.row_E.shape[0] // max(1, num_queries)) - self.num_rows
        if more > 0:
            k_HTK = F.pad(k_HTK, (0, 0, 0, more))
        _told_once()
        pairs = torch.sparse_csr_tensor(
            self.offsets_N1,
            self.row_E,
            q_HNK.new_zeros(self.row_E.shape[0]),
            size=(num_queries, k_HTK.shape[1]),
            check_invariants=False,
        )
        return torch.stack([torch.sparse.sampled_addmm(pairs, q, k.T, beta=0.0).values() for q, k in zip(q_HNK, k_HTK)])

    def sums(self, weight_HE: Tensor, v_HTV: Tensor) -> Tensor:
        """``[H, N, V]``: the weighted sum of the rows of each query."""
        return torch.stack(
            [
                F.embedding_bag(
                    self.row_E, v, self.offsets_N1, mode="sum", per_sample_weights=w, include_last_offset=True
                )
                for w, v in zip(weight_HE, v_HTV)
            ]
        )


class Lists(tuple[Tensor, Tensor]):
    """``(rows_NW, gate_NW)``, -1 for nothing; layers that read the same lists work out their entries once."""

    _kept: tuple[int, Entries, Tensor] | None = None
    _bias: tuple[PairBias, Tensor] | None = None

    def entries(self, num_rows: int) -> tuple[Entries, Tensor]:
        """The entries, and the gate of each."""
        if self._kept is None or self._kept[0] != num_rows:
            entries, place_E = Entries.of(self[0], num_rows)
            self._kept, self._bias = (num_rows, entries, self[1].flatten().index_select(0, place_E)), None
        return self._kept[1], self._kept[2]

    def bias_E(self, bias: PairBias, entries: Entries) -> Tensor:
        """The bias of each entry."""
        if self._bias is None or self._bias[0] is not bias:
            self._bias = bias, bias.of(entries.query_E(), entries.row_E)
        return self._bias[1]


@cache
def _told_once() -> None:
    """Let torch say in silence, at their first use in a process, that compressed rows are beta."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        torch.sparse_csr_tensor(torch.tensor([0, 0]), torch.empty(0, dtype=torch.int64), torch.empty(0), size=(1, 1))


class EntryProducts(torch.autograd.Function):
    """``Entries.products`` with gradients that are sums over the lists and over the turned lists."""

    @staticmethod
    def forward(ctx: FunctionCtx, q_HNK: Tensor, k_HTK: Tensor, entries: Entries) -> Tensor:
        ctx.save_for_backward(q_HNK, k_HTK)
        ctx.entries = entries  # type: ignore[attr-defined]
        return entries.products(q_HNK, k_HTK)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, up_HE: Tensor) -> tuple[Tensor, Tensor, None]:
        (q_HNK, k_HTK), entries = ctx.saved_tensors, ctx.entries  # type: ignore[attr-defined]
        turned, order_E = entries.turned()
        up_HE = up_HE.contiguous()
        return entries.sums(up_HE, k_HTK), turned.sums(up_HE[:, order_E], q_HNK), None


class EntrySums(torch.autograd.Function):
    """``Entries.sums`` with gradients that are products of the entries and sums over the turned lists."""

    @staticmethod
    def forward(ctx: FunctionCtx, weight_HE: Tensor, v_HTV: Tensor, entries: Entries) -> Tensor:
        ctx.save_for_backward(weight_HE, v_HTV)
        ctx.entries = entries  # type: ignore[attr-defined]
        return entries.sums(weight_HE, v_HTV)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, up_HNV: Tensor) -> tuple[Tensor, Tensor, None]:
        (weight_HE, v_HTV), entries = ctx.saved_tensors, ctx.entries  # type: ignore[attr-defined]
        turned, order_E = entries.turned()
        up_HNV = up_HNV.contiguous()
        return entries.products(up_HNV, v_HTV), turned.sums(weight_HE[:, order_E], up_HNV), None
