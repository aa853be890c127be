"""The benchmark of reasoning compares what is kept with what is run again before it times, and tells every path."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

import pytest
import torch


@pytest.fixture
def bench() -> ModuleType:
    return import_module("reasoning")


@torch.no_grad()
def test_what_disagrees_is_refused(bench, monkeypatch):
    case = bench.case_of(12, 2)
    bench.check(case)
    right = bench.steps
    monkeypatch.setattr(bench, "steps", lambda case, begun, number: right(case, begun, number) * 1.01)
    with pytest.raises(
        SystemExit, match=r"^step 1 \(off by .*\) must be what the reference gives; no speed is printed$"
    ):
        bench.check(case)


def test_every_path_is_timed(bench):
    lines, ratios = bench.compared(12, 2, 1)
    assert [line.split(" | ")[2] for line in lines] == ["pass", "one step", "k steps", "answer", "again"]
    assert [name.partition(",")[0] for name in ratios] == [
        "3 x one step ÷ 3 steps",
        "pass ÷ one step",
        "again ÷ answer",
    ]
