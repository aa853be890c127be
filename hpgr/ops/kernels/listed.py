"""Launches the kernels of lists and gives them to autograd."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hpgr.ops.kernels.launching import TableGrads, Tables, by_rows, current, precision, share_of, tuned, widths
from hpgr.ops.kernels.listed_kernels import listed_backward, listed_forward
from hpgr.ops.weighing import Weighing


def listed_pairs(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    own: tuple[Tensor, Tensor] | None,
    rows: Tensor,
    gate: Tensor,
    weighing: Weighing,
) -> Tensor:
    """``[Q, H, V]``: what each query reads of its listed keys and, where given, of its own column."""
    tables = Tables.of(weighing.bias)
    own_k, own_v = own if own is not None else (None, None)
    options = rows.contiguous(), replace(weighing, bias=None), tables
    return _Listed.apply(q, k, v, own_k, own_v, gate, tables.place, tables.time, *options)


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    """The arguments that the two kernels share."""

    tensors: tuple[Tensor, Tensor, Tensor]
    weighing: Weighing
    tables: Tables

    def shared(self) -> dict[str, Any]:
        q, k, v = self.tensors
        names = ("q_token", "q_head", "k_token", "k_head", "v_token", "v_head")
        return {
            **dict(zip(names, (step for x in (q, k, v) for step in x.stride()[:2]))),
            "scale": self.weighing.scale,
            "share": share_of(self.weighing),
            "num_heads": q.shape[1],
            "SOFTMAX": self.weighing.kind == "softmax",
            "FAST": precision(q)["FAST"],
            **self.tables.arguments(),
            **widths(q, v),
        }


class _Listed(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        own_k: Tensor | None,
        own_v: Tensor | None,
        gate: Tensor,
        place: Tensor | None,
        time: Tensor | None,
        rows: Tensor,
        weighing: Weighing,
        tables: Tables,
    ) -> Tensor:
        q, k, v = (by_rows(x, q.dtype) for x in (q, k, v))
        own_k, own_v = (x if x is None else x.to(q.dtype).contiguous() for x in (own_k, own_v))
        gate = gate.contiguous()
        shared = _Call((q, k, v), weighing, replace(tables, place=place, time=time)).shared()
        out = torch.empty((q.shape[0], *v.shape[1:]), dtype=v.dtype, device=q.device)
        lse = None
        if weighing.kind == "softmax":
            lse = torch.empty(q.shape[:2], dtype=torch.float32, device=q.device)
        if q.shape[0]:
            lists = {"rows": rows, "gate": gate, "list_width": rows.shape[1]}
            grid = (q.shape[0] * q.shape[1],)
            with current(q.device):
                _FORWARD[grid](q=q, k=k, v=v, own_k=own_k, own_v=own_v, out=out, lse=lse, **lists, **shared)
        ctx.save_for_backward(q, k, v, own_k, own_v, gate, place, time, rows, lse, out if lse is not None else None)
        ctx.options = weighing, tables
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, up: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, own_k, own_v, gate, place, time, rows, lse, out = ctx.saved_tensors
        weighing, tables = ctx.options
        call = _Call((q, k, v), weighing, replace(tables, place=place, time=time))
        up = up.to(v.dtype).contiguous()
        delta = None if lse is None else (up.float() * out.float()).sum(-1)
        dq = torch.empty(q.shape, dtype=q.dtype, device=q.device)
        dk, dv = (torch.zeros(x.shape, dtype=torch.float32, device=q.device) for x in (k, v))
        own_dk, own_dv = (None if x is None else torch.empty_like(x) for x in (own_k, own_v))
        gate_grad = torch.empty((*q.shape[:2], rows.shape[1]), dtype=torch.float32, device=q.device)
        grads = TableGrads.of(call.tables, q.device)
        if q.shape[0]:
            inputs = {"q": q, "k": k, "v": v, "own_k": own_k, "own_v": own_v, "rows": rows, "gate": gate, "do": up}
            outputs = {"dq": dq, "dk": dk, "dv": dv, "own_dk": own_dk, "own_dv": own_dv, "gate_grad": gate_grad}
            more = {"lse": lse, "delta": delta, "list_width": rows.shape[1], **grads.arguments(), **call.shared()}
            with current(q.device):
                _BACKWARD[(q.shape[0] * q.shape[1],)](**inputs, **outputs, **more)
        to_gate = gate_grad.sum(1).to(gate.dtype)
        dk, dv = dk.to(k.dtype), dv.to(v.dtype)
        return dq, dk, dv, own_dk, own_dv, to_gate, *grads.summed(1.0), None, None, None


_SHAPES = ["K", "V", "SOFTMAX"]
_FORWARD = tuned(listed_forward, _SHAPES, [(0, 32, 2, 2), (0, 32, 4, 2), (0, 64, 4, 1), (0, 16, 1, 2)])
_BACKWARD = tuned(
    listed_backward,
    _SHAPES,
    [(0, 32, 2, 1), (0, 32, 4, 1), (0, 64, 4, 1), (0, 16, 1, 1)],
    "dk",
    "dv",
    "place_grad",
    "time_grad",
)
