"""Curves of cost by length on logarithmic axes, as a static SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

COLOURS = {"dense": "#c0392b", "session-sparse": "#1f6fb2"}
WIDTH, HEIGHT, LEFT, TOP, GAP = 330, 220, 60, 40, 70


@dataclass(frozen=True, slots=True)
class Curve:
    """``values`` by ``lengths``; ``name``: "rows, unit"; ``panel``: 0 left, 1 right."""

    name: str
    lengths: Sequence[int]
    values: Sequence[float]
    panel: int


def drawn(curves: Sequence[Curve], title: str) -> str:
    """The whole SVG: a panel for each unit, both axes logarithmic."""
    wide, high = 2 * WIDTH + 2 * LEFT + GAP, HEIGHT + TOP + 60
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" font-family="sans-serif" font-size="12">',
        f'<rect width="{wide}" height="{high}" fill="white"/>',
        f'<text x="{LEFT}" y="20" font-size="14">{title}</text>',
    ]
    for panel in (0, 1):
        parts += _panel([curve for curve in curves if curve.panel == panel], LEFT + panel * (WIDTH + GAP))
    for place, (rows, colour) in enumerate(COLOURS.items()):
        x = LEFT + 130 * place
        parts.append(
            f'<line x1="{x}" x2="{x + 20}" y1="{high - 8}" y2="{high - 8}" stroke="{colour}" stroke-width="2"/>'
        )
        parts.append(f'<text x="{x + 25}" y="{high - 4}">{rows}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _panel(curves: Sequence[Curve], left: float) -> list[str]:
    lengths = sorted({length for curve in curves for length in curve.lengths})
    values = [value for curve in curves for value in curve.values]
    low, top = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    spread = math.log2(lengths[-1] / lengths[0]) or 1.0

    def x(length: float) -> float:
        return left + WIDTH * math.log2(length / lengths[0]) / spread

    def y(value: float) -> float:
        return TOP + HEIGHT * (1 - (math.log10(value) - low) / max(1, top - low))

    unit = curves[0].name.rsplit(", ", 1)[1]
    parts = [f'<text x="{left - 40}" y="{TOP - 8}">{unit}</text>']
    for length in lengths:
        parts.append(f'<text x="{x(length):.0f}" y="{TOP + HEIGHT + 18}" text-anchor="middle">{length}</text>')
    for power in range(low, top + 1):
        height = y(10**power)
        parts.append(f'<line x1="{left}" x2="{left + WIDTH}" y1="{height:.0f}" y2="{height:.0f}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{height + 4:.0f}" text-anchor="end">{10**power:g}</text>')
    for curve in curves:
        path = " ".join(f"{x(length):.1f},{y(value):.1f}" for length, value in zip(curve.lengths, curve.values))
        colour = COLOURS[curve.name.rsplit(", ", 1)[0]]
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
    parts.append(
        f'<text x="{left + WIDTH / 2:.0f}" y="{TOP + HEIGHT + 36}" text-anchor="middle">events in the history</text>'
    )
    return parts
