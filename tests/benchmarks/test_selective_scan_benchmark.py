"""The scan's benchmark compares before it times, and tells every path."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

_FILE = Path(__file__).parents[2] / "benchmarks" / "selective_scan.py"


@pytest.fixture
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("selective_scan_benchmark", _FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", ["ours", "loop"])
def test_what_disagrees_is_refused(bench, monkeypatch, path):
    case = bench.case_of(24, 2, 8, 4)
    bench.check(case, 2)
    right = bench.PATHS[path]
    monkeypatch.setitem(bench.PATHS, path, lambda leaves, rows: right(leaves, rows) * 1.01)
    with pytest.raises(SystemExit, match=rf"outputs and gradients of {path} must be those of the reference"):
        bench.check(case, 2)


def test_every_path_is_timed(bench):
    assert len(bench.lines_of((16, 2, 8, 4), 1)) == len(bench.PATHS) == 3
