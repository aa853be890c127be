"""What launches have in common: layouts, widths, precision, the tables of a bias, and the tiles to try."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import triton
from torch import Tensor

from hpgr.ops.kernels.cells import hstu_cells
from hpgr.ops.kernels.support import TableBias, interpreted
from hpgr.ops.weighing import PairBias, Weighing

# Copies of a table's gradient, so that programs seldom add to the same place at once.
_COPIES = 64
_SMALLEST_DOT = 16


def smallest(size: int) -> int:
    """``size``, or in the interpreter the least that a product takes."""
    return _SMALLEST_DOT if interpreted() else size


def by_rows(x: Tensor, dtype: torch.dtype) -> Tensor:
    """``x`` with its last dimension in one piece; heads and rows may have any stride."""
    x = x.to(dtype)
    return x if x.stride(-1) == 1 else x.contiguous()


def current(device: torch.device) -> AbstractContextManager[Any]:
    """Makes ``device`` the one that Triton launches on."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def share_of(weighing: Weighing) -> float:
    """What silu weights are multiplied with."""
    return 1.0 if weighing.kind == "softmax" else 1 / weighing.divisor


def precision(q: Tensor) -> dict[str, Any]:
    """How products and sigmoids are computed. float32: three tf32 products, or one where torch may use it too."""
    nvidia = q.is_cuda and torch.version.hip is None and not interpreted()
    if interpreted():
        product = "interpreter"
    elif q.dtype != torch.float32 or not nvidia:
        product = "ieee"
    else:
        product = "tf32x3" if torch.get_float32_matmul_precision() == "highest" else "tf32"
    return {"PRECISION": product, "FAST": nvidia and q.dtype != torch.float32}


def widths(q: Tensor, v: Tensor) -> dict[str, int]:
    """The widths of a head and the powers of two that hold them."""
    wide, value = q.shape[-1], v.shape[-1]
    block = {f"BLOCK_{name}": max(_SMALLEST_DOT, triton.next_power_of_2(n)) for name, n in (("K", wide), ("V", value))}
    return {"K": wide, "V": value, **block}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Tables:
    """A ``TableBias`` as kernels want it; everything None where there is no bias."""

    place: Tensor | None = None
    time: Tensor | None = None
    query_at: Tensor | None = None
    query_time: Tensor | None = None
    key_time: Tensor | None = None

    @classmethod
    def of(cls, bias: PairBias | None) -> Tables:
        if bias is None:
            return cls()
        assert isinstance(bias, TableBias)
        query_at = bias.query_at_Q
        if query_at is None:
            query_at = torch.arange(bias.query_time_Q.shape[0], device=bias.query_time_Q.device)
        return cls(
            place=bias.place,
            time=bias.time,
            query_at=query_at,
            query_time=bias.query_time_Q,
            key_time=bias.key_time_T,
        )

    def arguments(self) -> dict[str, Any]:
        base = edge = None
        if self.time is not None:
            base, edge = hstu_cells(self.time.device)
        return {
            "place": self.place,
            "time": self.time,
            "q_at": self.query_at if self.place is not None else None,
            "q_time": self.query_time if self.time is not None else None,
            "k_time": self.key_time if self.time is not None else None,
            "reach": 0 if self.place is None else self.place.shape[0] // 2,
            "cell_base": base,
            "cell_edge": edge,
        }


@dataclass(frozen=True, slots=True, eq=False)
class TableGrads:
    """``[copies, table]`` sums that programs add to; one element where there is no table."""

    tables: Tables
    place: Tensor
    time: Tensor

    @classmethod
    def of(cls, tables: Tables, device: torch.device) -> TableGrads:
        sizes = (0 if table is None else table.shape[0] for table in (tables.place, tables.time))
        return cls(tables, *(torch.zeros((_COPIES, size) if size else (1, 1), device=device) for size in sizes))

    def arguments(self) -> dict[str, Any]:
        return {
            "place_grad": self.place,
            "time_grad": self.time,
            "copies": self.place.shape[0] if self.tables.place is not None else self.time.shape[0],
            "place_size": self.place.shape[1],
            "time_size": self.time.shape[1],
        }

    def summed(self, share: float) -> tuple[Tensor | None, Tensor | None]:
        """The gradients of the two tables, in their dtypes."""
        pairs = ((self.tables.place, self.place), (self.tables.time, self.time))
        place, time = (None if table is None else (grad.sum(0) * share).to(table.dtype) for table, grad in pairs)
        return place, time


@dataclass(frozen=True, slots=True, eq=False)
class _Untuned:
    """A kernel with given constants, called as Triton's are."""

    kernel: Any
    constants: dict[str, int]

    def __getitem__(self, grid: Any) -> Any:
        return partial(self.kernel[grid], **self.constants)


def tuned(kernel: Any, key: list[str], tiles: list[tuple[int, int, int, int]], *sums: str) -> Any:
    """``kernel`` with the fastest of ``(M, N, warps, stages)``, found at the first call for each ``key``; M 0: it has none.

    ``sums``: arguments that the kernel adds to, zeroed between trials. The last resort, where memory on the chip is
    short, is a small tile; the interpreter takes the smallest.
    """
    has_m = tiles[0][0] > 0
    if interpreted():
        return _Untuned(kernel, dict.fromkeys(("M", "N") if has_m else ("N",), _SMALLEST_DOT))
    tiles = [*tiles, (32 if has_m else 0, 32, 4, 1)]
    configs = [
        triton.Config({"M": m, "N": n} if has_m else {"N": n}, num_warps=warps, num_stages=stages)
        for m, n, warps, stages in tiles
    ]
    return triton.autotune(configs=configs, key=key, reset_to_zero=list(sums) or None)(kernel)
