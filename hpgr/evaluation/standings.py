"""Who stands where: cards of one question in one table, the seeds of a model in one row, rows below counting flagged."""

from __future__ import annotations

import json
import math
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from hpgr.evaluation.card import ResultCard
from hpgr.evaluation.card_files import FoundCard
from hpgr.evaluation.headlines import is_baseline, main_metrics, smaller_is_better
from hpgr.evaluation.intervals import Interval
from hpgr.evaluation.seeds import over_seeds
from hpgr.evaluation.standing_row import Row, trained_stages


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """One table: the models that were asked one question under one certificate and one protocol, the best first."""

    name: str
    question: str
    rows: tuple[Row, ...]

    @property
    def card(self) -> ResultCard:
        """One that speaks for all of them: certificate, protocol, data."""
        return self.rows[0].cards[0]

    @property
    def main(self) -> list[str]:
        """The main metrics of the question that a row has; the first one orders the table."""
        return main_metrics(self.question, {name for row in self.rows for name in row.metrics})

    @property
    def metrics(self) -> list[str]:
        """Every metric of the table: the main ones, then the others by name."""
        main = self.main
        return main + sorted({name for row in self.rows for name in row.metrics} - set(main))


def standings(found: Sequence[FoundCard]) -> list[Standing]:
    """A table for each certificate, protocol and question, in an order that does not depend on that of ``found``.

    Of two cards of one model, config and seed the later one counts.
    """
    tables: dict[tuple[str, ...], list[FoundCard]] = {}
    for one in sorted(found, key=lambda one: (one.card.created, str(one.path))):
        key = (one.card.certificate.hash, repr(one.card.protocol), one.question)
        tables.setdefault(key, []).append(one)
    named = sorted((_name(cards), key[2], key, cards) for key, cards in tables.items())
    names = _unlike([(name, question) for name, question, _, _ in named])
    return [
        Standing(name=name, question=question, rows=_rows([one.card for one in cards], question))
        for name, (_, question, _, cards) in zip(names, named)
    ]


def _rows(cards: list[ResultCard], question: str) -> tuple[Row, ...]:
    models: dict[str, dict[tuple[int, ...], ResultCard]] = {}
    for card in cards:
        models.setdefault(_without_seed(card), {})[card.seeds] = card
    merged = [_merged([by_seed[seeds] for seeds in sorted(by_seed)]) for by_seed in models.values()]
    first = next(iter(main_metrics(question, {name for row in merged for name in row.metrics})), None)
    merged.sort(key=lambda row: (-_worth(row, first), row.label, _without_seed(row.cards[0])))
    labels = _unlike([(row.label, "") for row in merged])
    ahead = {label: _worth(row, first) for label, row in zip(labels, merged) if is_baseline(row.label)}
    return tuple(
        Row(label=label, cards=row.cards, metrics=row.metrics, spread=row.spread, below=_below(row, first, ahead))
        for label, row in zip(labels, merged)
    )


def _merged(cards: list[ResultCard]) -> Row:
    names = list(dict.fromkeys(name for card in cards for name in card.metrics))
    metrics, spread = {name: _one_or_mean(cards, name) for name in names}, {}
    if len(cards) > 1:
        with warnings.catch_warnings():
            # How many seeds there are stands in the row.
            warnings.filterwarnings("ignore", ".*say little of the spread over seeds", UserWarning)
            found = over_seeds(cards)
        spread = {name: one.spread for name, one in found.items()}
        metrics |= {name: one.interval for name, one in found.items() if one.interval.low is not None}
    return Row(label=cards[0].model, cards=tuple(cards), metrics=metrics, spread=spread)


def _one_or_mean(cards: list[ResultCard], metric: str) -> Interval:
    """One card's interval; of several seeds the mean, and an interval from those of the cards, as compact cards have no more.

    Half of it is ``sqrt(h² + (1.96 sd)² / S)``: ``h`` is the mean half interval over users of the ``S`` cards. Seeds share
    the users, so that more seeds do not narrow ``h``.
    """
    known = [card.metrics[metric] for card in cards if metric in card.metrics]
    if len(known) == 1:
        return known[0]
    mean = fmean(one.value for one in known)
    widths = [(one.high - one.low) / 2 for one in known if one.low is not None and one.high is not None]
    if len(widths) < len(known):
        return Interval(value=mean)
    half = math.hypot(fmean(widths), 1.96 * stdev(one.value for one in known) / math.sqrt(len(known)))
    return Interval(value=mean, low=mean - half, high=mean + half, num_users=known[0].num_users)


def _below(row: Row, first: str | None, ahead: dict[str, float]) -> tuple[str, ...]:
    worth = _worth(row, first)
    if is_baseline(row.label) or worth == -math.inf:
        return ()
    return tuple(name for name, value in ahead.items() if value > worth)


def _worth(row: Row, metric: str | None) -> float:
    """The larger the better; minus infinity where there is no value."""
    value = row.metrics[metric].value if metric in row.metrics else math.nan
    if math.isnan(value):
        return -math.inf
    return -value if smaller_is_better(str(metric)) else value


def _without_seed(card: ResultCard) -> str:
    config: Any = card.config
    if isinstance(config, dict):
        # A model without stages is the same however others would be trained.
        left_out = {"seed"} if trained_stages(card) else {"seed", "stages"}
        config = {name: value for name, value in config.items() if name not in left_out}
    return json.dumps([card.model, config], sort_keys=True)


def _name(cards: list[FoundCard]) -> str:
    counts = Counter(one.collection for one in cards)
    return min(counts, key=lambda name: (-counts[name], name))


def _unlike(names: list[tuple[str, str]]) -> list[str]:
    """Names of which no two are equal: the second part, then a number, is added where they are."""
    kinds = Counter(name for name, _ in set(names))
    plain = [f"{name} ({more})" if kinds[name] > 1 else name for name, more in names]
    return [f"{name} ({plain[:i].count(name) + 1})" if name in plain[:i] else name for i, name in enumerate(plain)]
