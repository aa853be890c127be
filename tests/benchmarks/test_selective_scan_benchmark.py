"""The scan's benchmark compares before it times, and tells every path."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

import pytest


@pytest.fixture
def bench() -> ModuleType:
    return import_module("selective_scan")


@pytest.mark.parametrize("path", ["ours", "loop"])
def test_what_disagrees_is_refused(bench, monkeypatch, path):
    case = bench.case_of(24, 2, 8, 4)
    bench.check(case, 2)
    right = bench.PATHS[path]
    monkeypatch.setitem(bench.PATHS, path, lambda leaves, rows: right(leaves, rows) * 1.01)
    with pytest.raises(SystemExit, match=rf"outputs and gradients of {path} must be those of the reference"):
        bench.check(case, 2)


def test_every_path_is_timed(bench):
    lines, ratios = bench.compared((16, 2, 8, 4), 1)
    assert len(lines) == len(bench.PATHS) == 3
    assert [name.partition(",")[0] for name in ratios] == ["reference", "loop"]
