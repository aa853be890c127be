"""Freed memory is used again without fresh pages."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

_FAULTS = """
import resource, torch
from hpgr.serving.heap import keep_freed_memory

def work():
    for _ in range(5):
        [torch.empty(1 << 20).fill_(1.0) for _ in range(8)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        [torch.empty(1 << 20).fill_(1.0) for _ in range(8)]
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

assert keep_freed_memory()
work()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc, whose heap this is about")
def test_batch_after_batch_is_made_in_the_same_pages():
    found = subprocess.run([sys.executable, "-c", _FAULTS], check=True, capture_output=True)
    # Twenty rounds of 32 MiB are 163,840 pages, which a heap left alone mostly asks for again.
    assert int(found.stdout) < 8192
