"""``selective_scan`` by steps that all chunks take together, with a backward of its own.

Where rows are cut, a first pass tells what each chunk hands to the next if it begins with nothing; the second begins right.
A step works on ``(k, N, E)`` numbers, few enough to stay in a cache, and products of one or two of its dimensions only.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hpgr.ops.selective_scan.chunks import Chunks

# Numbers of the states of rows that go together. Much larger blocks of memory are not used again by an allocator, and
# new pages cost as much as the arithmetic.
_NUMBERS = 1 << 22


def selective_scan_vectorised(
    u_TE: Tensor, delta_TE: Tensor, a_EN: Tensor, b_TN: Tensor, c_TN: Tensor, offsets_B1: Tensor
) -> Tensor:
    """See ``selective_scan``."""
    if not u_TE.shape[0]:
        return torch.zeros_like(u_TE)
    exact = torch.promote_types(torch.float32, u_TE.dtype)
    rows = _together(offsets_B1.tolist(), max(1, _NUMBERS // a_EN.numel()))
    with torch.autocast(u_TE.device.type, enabled=False):
        u, delta, a_NE, b, c = (x.to(exact) for x in (u_TE, delta_TE, a_EN.T.contiguous(), b_TN, c_TN))
        sizes = offsets_B1[rows].diff().tolist()
        parts = zip(*(x.split(sizes) for x in (u, delta, b, c)))
        own = (offsets_B1[first : last + 1] - offsets_B1[first] for first, last in pairwise(rows))
        return torch.cat([_scanned(part, a_NE, offsets) for part, offsets in zip(parts, own)]).to(u_TE.dtype)


def _together(offsets: list[int], most: int) -> list[int]:
    """Borders of groups of rows, of ``most`` events each or one row; no group is without events."""
    borders = [0]
    for row in range(1, len(offsets) - 1):
        begun, at, after = offsets[borders[-1]], offsets[row], offsets[row + 1]
        if begun < at < after and after - begun > most:
            borders.append(row)
    return [*borders, len(offsets) - 1]


def _scanned(part: tuple[Tensor, ...], a_NE: Tensor, offsets_B1: Tensor) -> Tensor:
    u_TE, delta_TE, b_TN, c_TN = part
    chunks = Chunks.of(offsets_B1, u_TE.shape[0], a_NE.numel())
    delta_QKE = chunks.laid(delta_TE)
    y_QKE = _Scan.apply(delta_QKE * chunks.laid(u_TE), delta_QKE, a_NE, chunks.laid(b_TN), chunks.laid(c_TN), chunks)
    return chunks.taken(y_QKE)


class _Scan(torch.autograd.Function):
    """``w = delta u`` and the rest, laid in chunks; their steps. A step works on the ``k`` chunks that have not ended."""

    @staticmethod
    def forward(
        ctx: Any, w_QKE: Tensor, delta_QKE: Tensor, a_NE: Tensor, b_QKN: Tensor, c_QKN: Tensor, chunks: Chunks
    ) -> Tensor:
        steps, count = chunks.index_QK.shape
        begin_KNE, spare_KNE = w_QKE.new_zeros((2, count, *a_NE.shape))
        # Four passes need them where rows are cut, two where they are not: then to take exponents again costs less.
        decays = _Decays.of(delta_QKE, a_NE, keep=bool(chunks.later))
        if chunks.later:
            state_KNE = torch.zeros_like(begin_KNE)
            for step, k in enumerate(chunks.active):
                state_KNE[:k].mul_(decays.at(step, spare_KNE[:k]))
                state_KNE[:k].addcmul_(w_QKE[step, :k, None], b_QKN[step, :k, :, None])
            begin_KNE = chunks.carried(state_KNE, decays.through(spare_KNE))
        y_QKE = torch.zeros_like(w_QKE)
        # Without gradients one state is written over and over.
        kept = steps if any(ctx.needs_input_grad) else 1
        states_QKNE = w_QKE.new_empty((kept, *begin_KNE.shape))
        before_KNE = begin_KNE
        for step, k in enumerate(chunks.active):
            state_KNE = states_QKNE[step % kept][:k]
            torch.mul(before_KNE[:k], decays.at(step, spare_KNE[:k]), out=state_KNE)
            state_KNE.addcmul_(w_QKE[step, :k, None], b_QKN[step, :k, :, None])
            torch.bmm(c_QKN[step, :k, None], state_KNE, out=y_QKE[step, :k, None])
            before_KNE = state_KNE
        ctx.chunks, ctx.decays = chunks, decays
        ctx.save_for_backward(w_QKE, delta_QKE, a_NE, b_QKN, c_QKN, states_QKNE, begin_KNE)
        return y_QKE

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, up_QKE: Tensor) -> tuple[Tensor | None, ...]:
        w_QKE, delta_QKE, a_NE, b_QKN, c_QKN, states_QKNE, begin_KNE = ctx.saved_tensors
        up_QKE, decays, backwards = up_QKE.contiguous(), ctx.decays, list(enumerate(ctx.chunks.active))[::-1]
        grad_KNE, spare_KNE = torch.zeros_like(begin_KNE), torch.empty_like(begin_KNE)
        if ctx.chunks.later:
            for step, k in backwards:
                grad_KNE[:k].addcmul_(up_QKE[step, :k, None], c_QKN[step, :k, :, None])
                grad_KNE[:k].mul_(decays.at(step, spare_KNE[:k]))
            grad_KNE = ctx.chunks.carried_back(grad_KNE, decays.through(spare_KNE))
        w_grad, delta_grad, b_grad, c_grad = (torch.zeros_like(x) for x in (w_QKE, delta_QKE, b_QKN, c_QKN))
        a_grad_KNE = torch.zeros_like(begin_KNE)
        for step, k in backwards:
            # That of the state itself.
            grad, spare = grad_KNE[:k], spare_KNE[:k]
            grad.addcmul_(up_QKE[step, :k, None], c_QKN[step, :k, :, None])
            torch.bmm(b_QKN[step, :k, None], grad, out=w_grad[step, :k, None])
            # A row times a turned matrix costs a seventh of the matrix times a column.
            torch.bmm(w_QKE[step, :k, None], grad.transpose(1, 2), out=b_grad[step, :k, None])
            torch.bmm(up_QKE[step, :k, None], states_QKNE[step, :k].transpose(1, 2), out=c_grad[step, :k, None])
            # That of the state before; with it, that of the exponent.
            grad.mul_(decays.at(step, spare))
            torch.mul(grad, states_QKNE[step - 1, :k] if step else begin_KNE, out=spare)
            a_grad_KNE[:k].addcmul_(spare, delta_QKE[step, :k, None])
            torch.sum(spare.mul_(a_NE), 1, out=delta_grad[step, :k])
        return w_grad, delta_grad, a_grad_KNE.sum(0), b_grad, c_grad, None


@dataclass(frozen=True, slots=True, eq=False)
class _Decays:
    """``exp(delta a)`` of a step ``[K, N, E]``, kept for all steps or taken each time."""

    delta_QKE: Tensor
    a_NE: Tensor
    kept_QKNE: Tensor | None

    @classmethod
    def of(cls, delta_QKE: Tensor, a_NE: Tensor, *, keep: bool) -> _Decays:
        if not keep:
            return cls(delta_QKE, a_NE, None)
        kept_QKNE = delta_QKE.new_empty((*delta_QKE.shape[:2], *a_NE.shape))
        decays = cls(delta_QKE, a_NE, kept_QKNE)
        for delta_KE, out_KNE in zip(delta_QKE, kept_QKNE):
            decays._taken(delta_KE, out_KNE)
        return decays

    def at(self, step: int, spare_KNE: Tensor) -> Tensor:
        """Of one step, as many as ``spare`` holds, which is written over where they are not kept."""
        k = spare_KNE.shape[0]
        return self._taken(self.delta_QKE[step, :k], spare_KNE) if self.kept_QKNE is None else self.kept_QKNE[step, :k]

    def through(self, spare_KNE: Tensor) -> Tensor:
        """Of a whole chunk."""
        return self._taken(self.delta_QKE.sum(0), spare_KNE)

    def _taken(self, delta_KE: Tensor, out_KNE: Tensor) -> Tensor:
        return torch.mul(delta_KE[:, None], self.a_NE, out=out_KNE).exp_()
