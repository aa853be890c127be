"""Launches the dense kernels and gives them to autograd."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hpgr.ops.kernels.dense_backward import key_kernel, query_kernel
from hpgr.ops.kernels.dense_forward import forward_kernel
from hpgr.ops.kernels.launching import (
    TableGrads,
    Tables,
    by_rows,
    current,
    precision,
    share_of,
    tuned,
    widths,
)
from hpgr.ops.weighing import Weighing


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pairs:
    """Which queries read which keys: rows of the two offsets belong together. ``same``: queries are the keys.

    ``when``: a query reads strictly earlier keys (and itself where ``same``); ``group``: equal values only.
    """

    query_offsets: Tensor
    key_offsets: Tensor
    same: bool
    causal: bool = False
    window: int | None = None
    query_group: Tensor | None = None
    key_group: Tensor | None = None
    query_when: Tensor | None = None
    key_when: Tensor | None = None

    @property
    def plain(self) -> bool:
        """Does nothing but causality and the row hide a key?"""
        return self.window is None and self.query_group is None and self.query_when is None


def dense_pairs(
    q: Tensor, k: Tensor, v: Tensor, own: tuple[Tensor, Tensor] | None, pairs: Pairs, weighing: Weighing
) -> Tensor:
    """``[Q, H, V]``: what each query reads of its row's keys and, where given, of its own column."""
    tables = Tables.of(weighing.bias)
    own_k, own_v = own if own is not None else (None, None)
    return _Dense.apply(q, k, v, own_k, own_v, tables.place, tables.time, pairs, replace(weighing, bias=None), tables)


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    """The arguments that the three kernels share."""

    tensors: tuple[Tensor, Tensor, Tensor]
    pairs: Pairs
    weighing: Weighing
    tables: Tables

    @property
    def num_rows(self) -> int:
        return self.pairs.query_offsets.shape[0] - 1

    @property
    def biased(self) -> bool:
        return self.tables.place is not None or self.tables.time is not None

    def grid(self, num_tokens: int, size: str) -> Callable[[dict[str, Any]], tuple[int, int]]:
        """Blocks of ``size`` (a constant of the kernel), one more a row than fit at least; heads."""
        return lambda constants: (num_tokens // constants[size] + self.num_rows, self.tensors[0].shape[1])

    def shared(self) -> dict[str, Any]:
        (q, k, v), pairs = self.tensors, self.pairs
        return {
            "q_offsets": pairs.query_offsets,
            "k_offsets": pairs.key_offsets,
            "num_rows": self.num_rows,
            "q_token": q.stride(0),
            "q_head": q.stride(1),
            "k_token": k.stride(0),
            "k_head": k.stride(1),
            "v_token": v.stride(0),
            "v_head": v.stride(1),
            "q_group": pairs.query_group,
            "k_group": pairs.key_group,
            "q_when": pairs.query_when,
            "k_when": pairs.key_when,
            "window": pairs.window,
            "scale": self.weighing.scale,
            "share": share_of(self.weighing),
            "num_heads": q.shape[1],
            "CAUSAL": pairs.causal,
            "SAME": pairs.same,
            "SOFTMAX": self.weighing.kind == "softmax",
            "PLAIN": pairs.plain,
            **self.tables.arguments(),
            **precision(q),
            **widths(q, v),
        }


class _Dense(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        own_k: Tensor | None,
        own_v: Tensor | None,
        place: Tensor | None,
        time: Tensor | None,
        pairs: Pairs,
        weighing: Weighing,
        tables: Tables,
    ) -> Tensor:
        q, k, v = (by_rows(x, q.dtype) for x in (q, k, v))
        own_k, own_v = (x if x is None else x.to(q.dtype).contiguous() for x in (own_k, own_v))
        call = _Call((q, k, v), pairs, weighing, replace(tables, place=place, time=time))
        out = torch.empty((q.shape[0], *v.shape[1:]), dtype=v.dtype, device=q.device)
        lse = None
        if weighing.kind == "softmax":
            lse = torch.empty(q.shape[:2], dtype=torch.float32, device=q.device)
        if q.shape[0]:
            kernel = _FORWARD[call.biased][call.grid(q.shape[0], "M")]
            with current(q.device):
                kernel(q=q, k=k, v=v, own_k=own_k, own_v=own_v, out=out, lse=lse, **call.shared())
        ctx.save_for_backward(q, k, v, own_k, own_v, place, time, lse, out if lse is not None else None)
        ctx.options = pairs, weighing, tables
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, up: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, own_k, own_v, place, time, lse, out = ctx.saved_tensors
        pairs, weighing, tables = ctx.options
        call = _Call((q, k, v), pairs, weighing, replace(tables, place=place, time=time))
        up = up.to(v.dtype).contiguous()
        delta = None if lse is None else (up.float() * out.float()).sum(-1)
        dq, dk, dv = (torch.empty(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v))
        own_dk, own_dv = (None if x is None else torch.empty_like(x) for x in (own_k, own_v))
        grads = TableGrads.of(call.tables, q.device)
        shared = {"q": q, "k": k, "v": v, "do": up, "lse": lse, "delta": delta, **call.shared()}
        own = {"own_k": own_k, "own_v": own_v, "own_dk": own_dk, "own_dv": own_dv}
        with current(q.device):
            if q.shape[0]:
                _QUERIES[call.biased][call.grid(q.shape[0], "M")](dq=dq, **own, **grads.arguments(), **shared)
            if k.shape[0]:
                _KEYS[call.biased][call.grid(k.shape[0], "N")](dk=dk, dv=dv, **shared)
        tables_grads = grads.summed(share_of(weighing))
        return dq, dk, dv, own_dk, own_dv, *tables_grads, None, None, None


_SHAPES = ["K", "V", "SOFTMAX", "PLAIN", "CAUSAL"]
# Without a bias and with one, whose look-ups take the registers of a larger tile.
_FORWARD = {
    False: tuned(forward_kernel, _SHAPES, [(128, 64, 4, 3), (128, 128, 8, 2), (64, 64, 4, 3), (128, 32, 4, 3)]),
    True: tuned(forward_kernel, _SHAPES, [(64, 64, 4, 3), (64, 32, 4, 3), (128, 32, 8, 2)]),
}
_QUERIES = {
    False: tuned(query_kernel, _SHAPES, [(128, 64, 8, 2), (64, 64, 4, 3), (64, 32, 4, 3), (128, 32, 4, 2)]),
    True: tuned(query_kernel, _SHAPES, [(64, 32, 8, 2), (64, 32, 4, 3), (32, 32, 4, 2)], "place_grad", "time_grad"),
}
_KEYS = {
    False: tuned(key_kernel, _SHAPES, [(64, 128, 8, 2), (64, 64, 4, 3), (32, 64, 4, 3), (32, 128, 8, 2)]),
    True: tuned(key_kernel, _SHAPES, [(32, 64, 4, 3), (32, 64, 8, 2), (64, 64, 4, 3)]),
}
