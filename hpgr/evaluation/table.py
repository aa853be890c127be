"""Result cards as a table, for Markdown and for terminals; the one place that formats numbers.

Cards that answer unlike questions never share a table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table

from hpgr.evaluation.card import ResultCard
from hpgr.evaluation.intervals import Interval
from hpgr.evaluation.published import Published


@dataclass(frozen=True, kw_only=True, slots=True)
class CardGroup:
    """Cards of one certificate and one protocol."""

    cards: tuple[ResultCard, ...]

    @property
    def title(self) -> str:
        """``data · candidates · certificate``."""
        card = self.cards[0]
        name = str(card.data.get("name", "unnamed data"))
        return f"{name} · {card.protocol.candidates} · certificate {card.certificate.hash[:12]}"

    @property
    def metrics(self) -> list[str]:
        """Every metric that a card of the group has, in the order of first appearance."""
        return list(dict.fromkeys(name for card in self.cards for name in card.metrics))

    @property
    def labels(self) -> list[str]:
        """A name for each card: its model, with a number from the second card of one model on."""
        names = [card.model for card in self.cards]
        earlier = [names[:i].count(name) for i, name in enumerate(names)]
        return [f"{name} ({count + 1})" if count else name for name, count in zip(names, earlier)]

    def cells(self) -> list[list[str]]:
        """A row a card: its label, then each metric, ``–`` where the card lacks it."""
        rows = [[formatted(card.metrics.get(name)) for name in self.metrics] for card in self.cards]
        return [[label, *row] for label, row in zip(self.labels, rows)]

    def beside(self, published: Mapping[str, Published]) -> tuple[list[str], list[list[str]]]:
        """Names of columns and their rows: ``metrics`` and ``cells``, and what was ``published`` of a model, by its name, after
        each metric that any of them is known for."""
        known = {name for card in self.cards if card.model in published for name in published[card.model].metrics}
        names, rows = [], self.cells()
        columns = [[row[0] for row in rows]]
        for place, name in enumerate(self.metrics, start=1):
            names.append(name)
            columns.append([row[place] for row in rows])
            if name in known:
                names.append(f"{name} published")
                columns.append([published[c.model].text(name) if c.model in published else "–" for c in self.cards])
        return names, [list(row) for row in zip(*columns)]

    def sources(self, published: Mapping[str, Published]) -> list[str]:
        """A line for each model of which something was published: where."""
        models = dict.fromkeys(card.model for card in self.cards)
        return [f"{name}: {published[name].source}" for name in models if name in published]


def groups(cards: Sequence[ResultCard]) -> list[CardGroup]:
    """The cards by question, in the order of first appearance."""
    found: list[list[ResultCard]] = []
    for card in cards:
        home = next((group for group in found if group[0].comparable(card)), None)
        if home is None:
            found.append([card])
        else:
            home.append(card)
    return [CardGroup(cards=tuple(group)) for group in found]


def number(value: float | None) -> str:
    """A metric for people: four decimals below 10, thousands separated above; ``–`` for what has no value.

    >>> number(0.12345), number(12345.6), number(None)
    ('0.1235', '12,346', '–')
    """
    if value is None or value != value:
        return "–"
    size = abs(value)
    return f"{value:.4f}" if size < 10 else f"{value:,.1f}" if size < 1000 else f"{value:,.0f}"


def formatted(interval: Interval | None) -> str:
    """``value [low, high]``, or the value alone where there is no interval.

    >>> formatted(Interval(value=0.5, low=0.4, high=0.6, num_users=10))
    '0.5000 [0.4000, 0.6000]'
    """
    if interval is None or interval.low is None or interval.high is None:
        return number(interval.value if interval else None)
    return f"{number(interval.value)} [{number(interval.low)}, {number(interval.high)}]"


def markdown(cards: Sequence[ResultCard], published: Mapping[str, Published] | None = None) -> str:
    """One Markdown table for each question, under its title; ``published``, by model, stands beside our figures."""
    blocks = []
    for group in groups(cards):
        names, cells = group.beside(published or {})
        rows = [["model", *names], ["---", *("---:" for _ in names)], *cells]
        lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
        blocks.append("\n".join([f"**{group.title}**", "", *lines]))
        sources = group.sources(published or {})
        if sources:
            blocks.append("Published:\n\n" + "\n".join(f"- {line}" for line in sources))
    return "\n\n".join(blocks) + "\n"


def terminal(cards: Sequence[ResultCard], published: Mapping[str, Published] | None = None) -> list[Table]:
    """One ``rich`` table for each question; a row a metric, so that it fits narrow terminals."""
    tables = []
    for group in groups(cards):
        names, rows = group.beside(published or {})
        sources = "\n".join(group.sources(published or {}))
        table = Table(title=escape(group.title), title_justify="left", caption=escape(sources), caption_justify="left")
        table.add_column("metric")
        for label in group.labels:
            table.add_column(escape(label), justify="right")
        for name, *cells in zip(names, *(row[1:] for row in rows)):
            table.add_row(escape(name), *map(escape, cells))
        tables.append(table)
    return tables
