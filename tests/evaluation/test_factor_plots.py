from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass

import pytest

from hpgr.evaluation.factor_plots import factor_plot, variants, write_factor_plots
from hpgr.evaluation.intervals import Interval

SVG = "{http://www.w3.org/2000/svg}"


@dataclass
class Row:
    label: str
    metrics: dict


@dataclass
class Table:
    name: str
    rows: list
    question: str = "retrieve"

    @property
    def main(self) -> list[str]:
        return ["NDCG@10"]


def table(name: str, **values: float) -> Table:
    rows = [Row(label, {"NDCG@10": Interval(value=v, low=v - 0.01, high=v + 0.01)}) for label, v in values.items()]
    return Table(name, rows[::-1])


def test_dots_stand_at_their_values_and_the_first_is_the_line():
    found = {"base": Interval(value=0.2, low=0.1, high=0.3), "a < b": Interval(value=0.3)}
    root = ET.fromstring(factor_plot("Loss & more", {"music": found}))
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert texts == ["Loss & more", "music", "base", "0.2000", "a < b", "0.3000"]
    first, second = (float(dot.get("cx")) for dot in root.iter(f"{SVG}circle"))
    dashed, interval, point = root.iter(f"{SVG}line")
    assert float(dashed.get("x1")) == float(dashed.get("x2")) == first
    # The scale runs from .1 to .3: the base stands in its middle, the other at its end.
    left, right = float(interval.get("x1")), float(interval.get("x2"))
    assert first == pytest.approx((left + right) / 2)
    assert second == right
    assert point.get("x1") == point.get("x2")


def test_a_plot_a_factor_from_what_has_cards(tmp_path):
    tables = [table("music", base=0.2, deep=0.3, wide=0.1), table("news", base=0.5), table("films", base=0.1, deep=0.2)]
    factors = {"Depth": ("base", "deep", "deeper"), "Width of it": ("base", "wide"), "Unrun": ("base", "none")}
    written = write_factor_plots(tables, factors, tmp_path / "factors")
    assert [path.name for path in written] == ["depth.svg", "width-of-it.svg"]
    root = ET.fromstring(written[0].read_text())
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert texts[:2] == ["Depth", "music: NDCG@10"]
    assert "films: NDCG@10" in texts
    assert not any(text.startswith("news") for text in texts)
    assert list(variants(tables[0], ("deep", "base"))) == ["deep", "base"]
