"""Whether the kernels can run: Triton's presence, the tensors' device and dtype, the kind of bias."""

from __future__ import annotations

import importlib.util
import os
from functools import lru_cache
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from hpgr.core.errors import UnsupportedError
from hpgr.ops.weighing import PairBias

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@runtime_checkable
class TableBias(Protocol):
    """A ``PairBias`` of two tables, which a kernel can look up: ``place[clamp(key - query_at)] + time[bucket]``.

    ``place``: an odd number of rows, the middle one for no distance; ``time``: by ``hstu_bucket``; times in
    milliseconds, int64. ``query_at_Q`` None: each query stands at its own row of the keys.
    """

    @property
    def place(self) -> Tensor | None: ...
    @property
    def time(self) -> Tensor | None: ...
    @property
    def query_time_Q(self) -> Tensor: ...
    @property
    def key_time_T(self) -> Tensor: ...
    @property
    def query_at_Q(self) -> Tensor | None: ...


@lru_cache(maxsize=1)
def installed() -> bool:
    """Is Triton there? It is not imported to find out."""
    return importlib.util.find_spec("triton") is not None


def interpreted() -> bool:
    """Do kernels run in Triton's interpreter, on any device?"""
    return os.environ.get("TRITON_INTERPRET") == "1"


def chooses_triton(q: Tensor, bias: PairBias | None) -> bool:
    """What ``auto`` asks: on CUDA, ``HPGR_TRITON=1``, installed, and nothing given that ``check_runnable`` would refuse.

    The variable goes once ``benchmarks/gpu.py`` has run on a device: nothing untried is chosen for anybody.
    """
    wanted = os.environ.get("HPGR_TRITON") == "1" and q.is_cuda and installed()
    return wanted and q.dtype in _DTYPES and (bias is None or isinstance(bias, TableBias))


def check_runnable(q: Tensor, bias: PairBias | None) -> None:
    """Raises: UnsupportedError where the kernels cannot run on these tensors; the message has the remedy."""
    if not installed():
        raise UnsupportedError("triton (not installed) must be there for impl 'triton'; pip install 'hpgr[gpu]'")
    if not q.is_cuda and not interpreted():
        raise UnsupportedError(
            f"impl ('triton') must be given tensors on a CUDA device, not {q.device.type}; move them there, use "
            "impl='auto', or set TRITON_INTERPRET=1 before Python starts"
        )
    if q.dtype not in _DTYPES:
        raise UnsupportedError(
            f"q ({q.dtype}) must be float32, bfloat16 or float16 for impl 'triton'; convert it or use impl='vectorised'"
        )
    if bias is not None and not isinstance(bias, TableBias):
        raise UnsupportedError(
            f"bias ({type(bias).__name__}) must be tables of places and times, as RelativeBias gives, for impl 'triton'; "
            "use impl='vectorised'"
        )
