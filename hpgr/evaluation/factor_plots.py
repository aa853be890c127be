"""One plot a factor of a study: what each of its variants is worth beside the base, a panel a data set; SVG that loads nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from hpgr.evaluation.intervals import Interval
from hpgr.evaluation.standings import Standing
from hpgr.evaluation.writing import write_whole

_WIDTH, _LEFT, _RIGHT, _ROW, _HEAD = 760, 250, 90, 26, 44
_BASE, _OTHER = "#D55E00", "#0072B2"


def write_factor_plots(tables: Sequence[Standing], factors: Mapping[str, Sequence[str]], folder: Path) -> list[Path]:
    """``FACTOR.svg`` in ``folder`` for each factor of which a table has two variants; the files in that order.

    ``factors``: by name the models that vary in it, the base first. Variants that have no card yet are left out.
    """
    written = []
    for factor, models in factors.items():
        panels = {
            f"{table.name}: {table.main[0]}": found for table in tables if len(found := variants(table, models)) > 1
        }
        if panels:
            path = folder / f"{re.sub(r'[^a-z0-9]+', '-', factor.lower()).strip('-')}.svg"
            write_whole(path, factor_plot(factor, panels).encode())
            written.append(path)
    return written


def variants(table: Standing, models: Sequence[str]) -> dict[str, Interval]:
    """The table's first metric of each of ``models`` that has a row, in their order."""
    rows, metric = {row.label: row for row in table.rows}, table.main[0]
    return {name: rows[name].metrics[metric] for name in models if name in rows and metric in rows[name].metrics}


def factor_plot(title: str, panels: Mapping[str, Mapping[str, Interval]]) -> str:
    """SVG: in each panel a dot and an interval a variant, the first one's value as a dashed line; scales are the panels' own."""
    parts, top = [_text(16, 24, title, size=15)], _HEAD
    for name, found in panels.items():
        parts += _panel(name, found, top)
        top += _HEAD + _ROW * len(found)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top}" font-family="sans-serif" font-size="12">\n'
        f'<rect width="{_WIDTH}" height="{top}" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _panel(name: str, found: Mapping[str, Interval], top: float) -> list[str]:
    bounds = [bound for one in found.values() for bound in _bounds(one)]
    low, high = min(bounds), max(bounds)
    width = (high - low) or 1.0

    def x(value: float) -> float:
        return round(_LEFT + (value - low) / width * (_WIDTH - _LEFT - _RIGHT), 1)

    base = next(iter(found.values())).value
    bottom = top + 14 + _ROW * len(found)
    parts = [
        _text(16, top + 8, name, size=13),
        f'<line x1="{x(base)}" x2="{x(base)}" y1="{top + 14}" y2="{bottom}" stroke="#8C8C8C" stroke-dasharray="4 3"/>',
    ]
    for row, (label, one) in enumerate(found.items()):
        y, colour = top + 14 + _ROW * (row + 0.5), _OTHER if row else _BASE
        left, right = _bounds(one)
        parts += [
            _text(_LEFT - 12, y + 4, label, anchor="end"),
            f'<line x1="{x(left)}" x2="{x(right)}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="2"/>',
            f'<circle cx="{x(one.value)}" cy="{y}" r="5" fill="{colour}"/>',
            _text(_WIDTH - _RIGHT + 14, y + 4, f"{one.value:.4f}"),
        ]
    return parts


def _bounds(one: Interval) -> tuple[float, float]:
    known = one.low is not None and one.high is not None and math.isfinite(one.low) and math.isfinite(one.high)
    return (one.low, one.high) if known else (one.value, one.value)  # type: ignore[return-value]


def _text(x: float, y: float, text: str, *, size: int = 12, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}">{escape(text)}</text>'
