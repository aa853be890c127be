"""Finds what the lists of neighbouring queries have in common, launches the kernels of unions and gives them to autograd."""

from __future__ import annotations

import weakref
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.weak import WeakIdKeyDictionary

from hpgr.ops.kernels.launching import by_rows, current, precision, share_of, smallest, tuned, widths
from hpgr.ops.kernels.union_kernels import union_backward, union_forward
from hpgr.ops.weighing import Weighing

# Queries of a block, in the interpreter as few as its tiles allow.
SIZE = smallest(64)
# A union that is this many lists wide or wider costs more than the lists one by one.
_WIDEST = 8

_KNOWN: MutableMapping[Tensor, Any] = WeakIdKeyDictionary()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Union:
    """For each block of queries: ``rows [blocks, U]`` int32 (-1 past ``sizes``) and ``gates [blocks * SIZE, U]``."""

    rows: Tensor
    sizes: Tensor
    gates: Tensor

    @classmethod
    def known(cls, rows_NW: Tensor, gate_NW: Tensor) -> Union | None:
        """``of``, remembered as long as these very lists live unchanged: the layers of a model read the same ones."""
        state = rows_NW._version, gate_NW._version
        for gate, at, union in _KNOWN.get(rows_NW, ()):
            if gate() is gate_NW and at == state:
                return union
        found = cls.of(rows_NW, gate_NW)
        _KNOWN[rows_NW] = ((weakref.ref(gate_NW), state, found),)
        return found

    @classmethod
    def of(cls, rows_NW: Tensor, gate_NW: Tensor) -> Union | None:
        """The unions of the lists, a row listed twice with the sum of its gates; None where they are not worth it."""
        count, width = rows_NW.shape
        blocks = -(-count // SIZE)
        if not count or not width:
            return None
        missing = blocks * SIZE - count
        rows = torch.cat([rows_NW.int(), rows_NW.new_full((missing, width), -1, dtype=torch.int32)]).view(blocks, -1)
        gate = torch.cat([gate_NW.float(), gate_NW.new_zeros((missing, width), dtype=torch.float32)]).view(blocks, -1)
        ordered, order = rows.sort(1)
        first = ordered >= 0
        first[:, 1:] &= ordered[:, 1:] != ordered[:, :-1]
        slot = first.cumsum(1) - 1
        sizes = first.sum(1, dtype=torch.int32)
        widest = int(sizes.max())
        if not 0 < widest <= _WIDEST * width:
            return None
        # One more column takes what is no entry.
        union = rows.new_full((blocks, widest + 1), -1)
        union.scatter_(1, slot.masked_fill(~first, widest), ordered)
        column = slot.masked_fill(ordered < 0, widest)
        gates = gate.new_zeros((blocks, SIZE * (widest + 1)))
        gates.scatter_add_(1, order // width * (widest + 1) + column, gate.gather(1, order))
        return cls(rows=union, sizes=sizes, gates=gates.view(blocks * SIZE, widest + 1))


def union_pairs(q: Tensor, k: Tensor, v: Tensor, union: Union, weighing: Weighing) -> Tensor:
    """``[Q, H, V]``: what each query reads of its listed keys, with silu weights and without a bias."""
    return _Union.apply(q, k, v, union, weighing)


def _arguments(q: Tensor, k: Tensor, v: Tensor, union: Union, weighing: Weighing) -> dict[str, Any]:
    names = ("q_token", "q_head", "k_token", "k_head", "v_token", "v_head")
    return {
        **dict(zip(names, (step for x in (q, k, v) for step in x.stride()[:2]))),
        "q": q,
        "k": k,
        "v": v,
        "union": union.rows,
        "sizes": union.sizes,
        "gates": union.gates,
        "union_width": union.rows.shape[1],
        "num_queries": q.shape[0],
        "scale": weighing.scale,
        "share": share_of(weighing),
        "num_heads": q.shape[1],
        "SIZE": SIZE,
        **precision(q),
        **widths(q, v),
    }


class _Union(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, union: Union, weighing: Weighing) -> Tensor:
        q, k, v = (by_rows(x, q.dtype) for x in (q, k, v))
        out = torch.empty((q.shape[0], *v.shape[1:]), dtype=v.dtype, device=q.device)
        with current(q.device):
            _FORWARD[(q.shape[1] * union.rows.shape[0],)](out=out, **_arguments(q, k, v, union, weighing))
        ctx.save_for_backward(q, k, v)
        ctx.options = union, weighing
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, up: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v = ctx.saved_tensors
        union, weighing = ctx.options
        up = up.to(v.dtype).contiguous()
        dq = torch.empty(q.shape, dtype=q.dtype, device=q.device)
        dk, dv = (torch.zeros(x.shape, dtype=torch.float32, device=q.device) for x in (k, v))
        with current(q.device):
            kernel = _BACKWARD[(q.shape[1] * union.rows.shape[0],)]
            kernel(do=up, dq=dq, dk=dk, dv=dv, **_arguments(q, k, v, union, weighing))
        return dq, dk.to(k.dtype), dv.to(v.dtype), None, None


_FORWARD = tuned(union_forward, ["K", "V"], [(0, 64, 4, 2), (0, 32, 4, 3)])
_BACKWARD = tuned(union_backward, ["K", "V"], [(0, 32, 4, 2), (0, 64, 4, 1), (0, 64, 8, 1)], "dk", "dv")
