"""The page of catalogues takes the sections that were measured and keeps the others, with their ratios."""

from __future__ import annotations

import json
from importlib import import_module

import pytest


@pytest.fixture
def bench(monkeypatch, tmp_path):
    module = import_module("catalogue")
    for name in ("catalogue", "measured"):
        monkeypatch.setattr(import_module(name), "RESULTS", tmp_path)
    return module


def test_sections_that_were_not_measured_are_kept(bench):
    one, two = bench.Ratio(1.0, 1.0, 1.0), bench.Ratio(2.0, 2.0, 2.0)
    bench.write_result(
        {"softmax": (["old softmax"], {"softmax, seconds": one}), "search": (["a search"], {"search, seconds": one})}
    )
    path = bench.write_result({"softmax": (["new softmax"], {"softmax, seconds": two})})
    page = path.read_text()
    assert "old softmax" not in page
    assert page.index("new softmax") < page.index("a search")
    ratios = json.loads(path.with_suffix(".json").read_text())["ratios"]
    assert {name: found["median"] for name, found in ratios.items()} == {
        "search, seconds": 1.0,
        "softmax, seconds": 2.0,
    }


def test_a_page_without_ratios_keeps_its_sections(bench):
    path = bench.write_result({"search": (["a search"], {})})
    path.with_suffix(".json").unlink()
    assert "a search" in bench.write_result({"softmax": (["new softmax"], {})}).read_text()
