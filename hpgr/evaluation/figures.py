"""The report's figures, as Plotly figures; colours of text and grid come from the page's style."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from hpgr.evaluation.table import CardGroup

# Okabe & Ito's colours, which most colour-blind readers can tell apart; the first is theirs for vermilion.
COLOURS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C")
_STEPS = ("step", "epoch")


def metric_intervals(group: CardGroup) -> go.Figure:
    """A strip for each metric with its own scale: a dot a card, and its interval."""
    metrics, labels = group.metrics, [escape(label) for label in group.labels]
    figure = make_subplots(rows=len(metrics), cols=1, subplot_titles=[escape(m) for m in metrics])
    for row, metric in enumerate(metrics, start=1):
        for i, card in enumerate(group.cards):
            found = card.metrics.get(metric)
            if found is None:
                continue
            spread = None
            if found.low is not None and found.high is not None:
                spread = {"array": [found.high - found.value], "arrayminus": [found.value - found.low], "thickness": 2}
            dot = go.Scatter(
                x=[found.value],
                y=[labels[i]],
                error_x=spread,
                mode="markers",
                marker={"color": COLOURS[i % len(COLOURS)], "size": 10},
                showlegend=False,
                name=labels[i],
            )
            figure.add_trace(dot, row=row, col=1)
        figure.update_yaxes(autorange="reversed", row=row, col=1)
    return _plain(figure, height=len(metrics) * (75 + 26 * len(group.cards)) + 40)


def learning_curves(group: CardGroup, stage: str) -> go.Figure:
    """A strip for each value that the stage recorded; a line a card, over steps or epochs."""
    labels = [escape(label) for label in group.labels]
    names = list(dict.fromkeys(n for card in group.cards for n in curve_names(card.learning_curves.get(stage, []))))
    figure = make_subplots(rows=len(names), cols=1, subplot_titles=[escape(n) for n in names])
    for i, card in enumerate(group.cards):
        records = card.learning_curves.get(stage, [])
        for row, name in enumerate(names, start=1):
            points = [
                (_step(record, n), record[name]) for n, record in enumerate(records) if _is_number(record.get(name))
            ]
            if not points:
                continue
            line = go.Scatter(
                x=[x for x, _ in points],
                y=[y for _, y in points],
                mode="lines+markers",
                line={"color": COLOURS[i % len(COLOURS)]},
                name=labels[i],
                legendgroup=str(i),
                showlegend=name == curve_names(records)[0],
            )
            figure.add_trace(line, row=row, col=1)
    return _plain(figure, height=230 * len(names) + 60)


def calibration_plot(group: CardGroup) -> go.Figure:
    """Share of clicks against mean prediction of each bin; on the diagonal predictions are right."""
    labels = [escape(label) for label in group.labels]
    figure = go.Figure()
    reach = 0.0
    for i, card in enumerate(group.cards):
        if card.calibration is None:
            continue
        x = [b.mean_prob for b in card.calibration.bins]
        y = [b.mean_label for b in card.calibration.bins]
        reach = max(reach, *x, *y)
        colour = COLOURS[i % len(COLOURS)]
        figure.add_scatter(x=x, y=y, mode="lines+markers", line={"color": colour}, name=labels[i])
    right = {"color": "#8C8C8C", "dash": "dot"}
    figure.add_scatter(x=[0, reach], y=[0, reach], mode="lines", line=right, name="predictions are right")
    figure.update_xaxes(title="mean prediction")
    figure.update_yaxes(title="share of clicks")
    return _plain(figure, height=420)


def curve_names(records: Sequence[dict[str, Any]]) -> list[str]:
    """What a stage recorded beside its steps: every name that has a number somewhere."""
    return list(dict.fromkeys(n for r in records for n, v in r.items() if n not in _STEPS and _is_number(v)))


def _step(record: dict[str, Any], position: int) -> float:
    return next((record[name] for name in _STEPS if _is_number(record.get(name))), position)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _plain(figure: go.Figure, height: int) -> go.Figure:
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 36, "b": 64},
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom"},
        font={"family": "inherit", "size": 12},
    )
    figure.update_xaxes(automargin=True, zeroline=False)
    figure.update_yaxes(automargin=True, zeroline=False)
    return figure
