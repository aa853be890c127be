"""The attention benchmark compares before it times, and tells every path."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

import pytest


@pytest.fixture
def bench(monkeypatch) -> ModuleType:
    module = import_module("attention")
    monkeypatch.setattr(module, "EVENTS", 96)
    monkeypatch.setattr(module, "LONGEST_PLAIN", 96)
    return module


@pytest.mark.parametrize("length", [32, 200])
def test_what_disagrees_is_refused(bench, monkeypatch, length):
    bench.check(length)
    ours = bench.ours
    monkeypatch.setattr(bench, "ours", lambda case, length: ours(case, length) * 1.01)
    with pytest.raises(SystemExit, match=rf"outputs and gradients at L = {length} must be those of the plain"):
        bench.check(length)


def test_every_path_is_timed_where_it_fits(bench):
    assert {name for name, _ in bench.timed(32, 1)} == set(bench.PATHS)
    assert {name for name, _ in bench.timed(200, 1)} == set(bench.PATHS) - {"plain"}
