"""The benchmark of several vectors measures what it says, and prints nothing where results disagree."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

import pytest


@pytest.fixture
def bench() -> ModuleType:
    return import_module("interest_search")


def test_lines_of_a_small_catalogue(bench):
    lines, ratios = bench.compared(300, 2, runs=1)
    assert [line.split("|")[3].strip() for line in lines] == [
        "one",
        "four",
        "four apart",
        "request, one",
        "request, four",
    ]
    assert lines[0].endswith("| 1.00 |")
    assert list(ratios) == [f"{name}, 300 items, 2 users" for name in ("four", "four apart", "request, four")]


def test_no_speed_where_the_search_is_not_exact(bench, monkeypatch):
    search = bench.ExactIndex.search

    def first_vector_alone(self, query, k, **options):
        return search(self, query[:, 0] if query.dim() == 3 else query, k, **options)

    monkeypatch.setattr(bench.ExactIndex, "search", first_vector_alone)
    with pytest.raises(SystemExit, match="must be the best of all scores; it is not"):
        bench.compared(300, 2, runs=1)
