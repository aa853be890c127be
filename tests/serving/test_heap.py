"""Freed memory is used again without fresh pages. In the first thread, where a heap left alone gives back what is free at its top, always."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_FAULTS = """
import resource, sys, torch
from hpgr.serving.heap import keep_freed_memory

def work():
    for _ in range(5):
        [torch.empty(1 << 20).fill_(1.0) for _ in range(8)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        [torch.empty(1 << 20).fill_(1.0) for _ in range(8)]
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

if sys.argv[1] == "keep":
    assert keep_freed_memory()
work()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc, whose heap this is about")
def test_batch_after_batch_is_made_in_the_same_pages():
    def faults(how: str) -> int:
        return int(subprocess.run([sys.executable, "-c", _FAULTS, how], check=True, capture_output=True).stdout)

    # 32 MiB a round are 8,192 pages; where pages are huge, 16.
    assert 10 * faults("keep") < faults("leave")
