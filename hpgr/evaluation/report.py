"""One HTML page from result cards: readable offline, on a phone, in light and dark; nothing is loaded from elsewhere.

Cards that answer unlike questions (other certificate or protocol) get sections and tables of their own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from hpgr.core.errors import DataError
from hpgr.core.units import human_bytes
from hpgr.evaluation.card import ResultCard
from hpgr.evaluation.figures import calibration_plot, curve_names, learning_curves, metric_intervals
from hpgr.evaluation.table import CardGroup, formatted, groups, number
from hpgr.evaluation.writing import write_whole

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2129; --soft: #5c6470; --line: #d9dde3; --page: #ffffff; --box: #f5f6f8; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8ec; --soft: #a3abb8; --line: #3a404a; --page: #16181d; --box: #1f2228; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 60rem; font: 16px/1.5 system-ui, sans-serif; color: var(--ink);
  background: var(--page); overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; }
h2 { font-size: 1.2rem; margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: 1rem; }
h3 { font-size: 1rem; margin-top: 1.75rem; }
p, .note { color: var(--soft); max-width: 42rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: .3rem .75rem .3rem 0; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap; }
details { margin: .75rem 0; } summary { cursor: pointer; }
pre { background: var(--box); padding: .75rem; overflow-x: auto; font-size: .8rem; overflow-wrap: normal; }
.js-plotly-plot .main-svg text { fill: var(--ink) !important; }
.js-plotly-plot :is(.gridlayer path, .xlines-above, .ylines-above) { stroke: var(--line) !important; }
.js-plotly-plot .hoverlayer text { fill: #ffffff !important; }
"""
_INTERVALS = "Means over users; intervals are from resampling users and do not contain other training seeds."
_PLOT_CONFIG = {"displayModeBar": False, "responsive": True, "displaylogo": False}


def report(cards: Sequence[ResultCard], *, title: str = "Result report") -> str:
    """The page for the cards, as text.

    Raises: DataError without a card.
    """
    if not cards:
        raise DataError("cards (0) must be at least 1 for a report")
    sections = "".join(_section(group, place) for place, group in enumerate(groups(cards)))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style><script>{get_plotlyjs()}</script></head>\n"
        f"<body><h1>{escape(title)}</h1>{sections}</body></html>\n"
    )


def write_report(cards: Sequence[ResultCard], path: Path | str, *, title: str = "Result report") -> None:
    """Write the page to ``path``, whole or not at all."""
    write_whole(Path(path), report(cards, title=title).encode())


def _section(group: CardGroup, place: int) -> str:
    cards = group.cards
    figures = [("Metrics with intervals", metric_intervals(group))] if group.metrics else []
    stages = dict.fromkeys(s for card in cards for s, records in card.learning_curves.items() if curve_names(records))
    figures += [(f"Learning curves: {stage}", learning_curves(group, stage)) for stage in stages]
    if any(card.calibration for card in cards):
        figures.append(("Calibration", calibration_plot(group)))
    drawn = [_figure(heading, figure, f"figure-{place}-{i}") for i, (heading, figure) in enumerate(figures)]
    body = [
        f"<h2>{escape(group.title)}</h2>",
        f'<p class="note">{_INTERVALS}</p>',
        _table(["model", *group.metrics], group.cells()),
        *drawn[:1],
        _slices(group),
        *drawn[1:],
        _calibration_facts(group),
        _monitors(group),
        _question(cards[0]),
        *(_run(label, card) for label, card in zip(group.labels, cards)),
    ]
    return f"<section>{''.join(body)}</section>\n"


def _question(card: ResultCard) -> str:
    protocol = card.protocol
    said = {
        "data": ", ".join(f"{_words(name)} {_value(value)}" for name, value in card.data.items()),
        "candidates": protocol.candidates,
        "seen items": protocol.seen,
        "targets of a query": protocol.targets,
        "tied scores": protocol.ties,
        "certificate": card.certificate.hash,
    }
    said |= {_words(name): _value(value) for name, value in card.certificate.facts.items()}
    note = '<p class="note">Two results may be compared only when certificate and protocol are the same.</p>'
    return f"<h3>What was asked</h3>{note}{_table(['fact', 'value'], [[name, text] for name, text in said.items()])}"


def _slices(group: CardGroup) -> str:
    by_card = [{(part.kind, part.name): part for part in card.slices} for card in group.cards]
    rows = []
    for kind, name in dict.fromkeys(key for parts in by_card for key in parts):
        here = [parts.get((kind, name)) for parts in by_card]
        one = next(part for part in here if part is not None)
        for metric in dict.fromkeys(m for part in here if part for m in part.metrics):
            values = [formatted(part.metrics.get(metric) if part else None) for part in here]
            rows.append([kind, name, f"{one.num_users:,}", f"{one.num_queries:,}", metric, *values])
    header = ["by", "slice", "users", "queries", "metric", *group.labels]
    return f"<h3>Slices</h3>{_table(header, rows)}" if rows else ""


def _calibration_facts(group: CardGroup) -> str:
    known = [(label, card.calibration) for label, card in zip(group.labels, group.cards) if card.calibration]
    rows = [[model, number(found.error), number(found.ratio)] for model, found in known]
    return _table(["model", "expected calibration error", "predicted over observed clicks"], rows) if rows else ""


def _monitors(group: CardGroup) -> str:
    names = list(dict.fromkeys(name for card in group.cards for name in card.monitors))
    rows = [[_words(name), *(_value(card.monitors.get(name)) for card in group.cards)] for name in names]
    return f"<h3>Monitors</h3>{_table(['monitor', *group.labels], rows)}" if rows else ""


def _run(label: str, card: ResultCard) -> str:
    facts = {
        "seeds": ", ".join(map(str, card.seeds)) or "–",
        "parameters": "–" if card.num_parameters is None else f"{card.num_parameters:,}",
        "peak memory": "–" if card.peak_memory_bytes is None else human_bytes(card.peak_memory_bytes),
        **{f"seconds of {_words(name)}": f"{value:,.1f}" for name, value in card.wall_time_s.items()},
        **{_words(name): str(value) for name, value in card.hardware.items()},
        **card.versions,
        "commit": card.commit or "unknown",
        "created": card.created,
    }
    config = escape(json.dumps(card.config, indent=1, ensure_ascii=False))
    table = _table(["fact", "value"], [[name, text] for name, text in facts.items()])
    return f"<details><summary>{escape(label)}: run and config</summary>{table}<pre>{config}</pre></details>"


def _figure(heading: str, figure: go.Figure, name: str) -> str:
    drawn = figure.to_html(full_html=False, include_plotlyjs=False, div_id=name, config=_PLOT_CONFIG)
    return f"<h3>{escape(heading)}</h3>{drawn}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _words(name: str) -> str:
    return name.replace("_", " ")


def _value(value: Any) -> str:
    """A fact for people: whole numbers in full, others as metrics are."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{value:,}" if isinstance(value, int) else number(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(_value(part) for part in value)
    return "–" if value is None else str(value)
