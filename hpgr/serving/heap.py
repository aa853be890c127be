"""Freed memory stays with the process: to be given fresh pages for every batch costs more than what is computed in them."""

from __future__ import annotations

import ctypes

# Names and numbers of <malloc.h>. Blocks up to 32 MiB, the most there is, come from the heap, which all threads share
# and which gives back only what lies free above 256 MiB.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8
_MIB = 1 << 20
_WANTED = ((_ARENA_MAX, 1), (_MMAP_THRESHOLD, 32 * _MIB), (_TRIM_THRESHOLD, 256 * _MIB), (_TOP_PAD, 16 * _MIB))


def keep_freed_memory() -> bool:
    """Tell the C library, for the whole process; whether it listens, as glibc does. To be called before threads begin."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    heard = [mallopt(option, value) == 1 for option, value in _WANTED]
    return all(heard)
