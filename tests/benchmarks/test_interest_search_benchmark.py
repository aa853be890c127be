"""The benchmark of several vectors measures what it says, and prints nothing where results disagree."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

_FILE = Path(__file__).parents[2] / "benchmarks" / "interest_search.py"


@pytest.fixture
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("interest_search_benchmark", _FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_lines_of_a_small_catalogue(bench):
    lines = bench.lines_of(300, 2, runs=1)
    assert [line.split("|")[3].strip() for line in lines] == [
        "one",
        "four",
        "four apart",
        "request, one",
        "request, four",
    ]
    assert lines[0].endswith("| 1.00 |")


def test_no_speed_where_the_search_is_not_exact(bench, monkeypatch):
    search = bench.ExactIndex.search

    def first_vector_alone(self, query, k, **options):
        return search(self, query[:, 0] if query.dim() == 3 else query, k, **options)

    monkeypatch.setattr(bench.ExactIndex, "search", first_vector_alone)
    with pytest.raises(SystemExit, match="must be the best of all scores; it is not"):
        bench.lines_of(300, 2, runs=1)
