"""What each variant of a factor of a study is worth: its difference to the base, over the users and the seeds of both.

All of them, over data, factors and metrics, are one table; Holm's adjustment is over its cells.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hpgr.evaluation.card import ResultCard
from hpgr.evaluation.headlines import main_metrics
from hpgr.evaluation.results_tables import cell_text
from hpgr.evaluation.seeds import SeedDifference, difference_over_seeds
from hpgr.evaluation.significance import holm
from hpgr.evaluation.standing_row import Row
from hpgr.evaluation.standings import Standing
from hpgr.evaluation.writing import write_whole

_SHOWN = 3
_READING = (
    "Interval: over users and seeds together. p: the users' differences between means over seeds, signs flipped at random, so that "
    "other seeds are not in it; Holm: adjusted for every row. Shows from: the least true difference that these users and seeds would "
    "show (power 80 %, level 5 %).",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class VariantDifference:
    """``variant`` minus ``base`` in one table: of its main metrics those that have values of single users."""

    table: str
    factor: str
    base: str
    variant: str
    seeds: tuple[int, int]
    found: tuple[SeedDifference, ...]


def variant_differences(tables: Sequence[Standing], factors: Mapping[str, Sequence[str]]) -> list[VariantDifference]:
    """For each factor and table the variants of which, as of the base, there are two seeds, and values of single users in a main metric.

    ``factors``: by name the models that vary in it, the base first.
    """
    pairs = [
        (table, factor, (rows[base], rows[variant]))
        for table in tables
        for rows in [{row.label: row for row in table.rows if _several(row)}]
        for factor, (base, *variants) in factors.items()
        for variant in variants
        if base in rows and variant in rows and _metrics(table, rows[base].cards, rows[variant].cards)
    ]
    return _adjusted(
        [
            VariantDifference(
                table=table.name,
                factor=factor,
                base=base.label,
                variant=variant.label,
                seeds=(len(base.cards), len(variant.cards)),
                found=_differences(base.cards, variant.cards, _metrics(table, base.cards, variant.cards), len(pairs)),
            )
            for table, factor, (base, variant) in pairs
        ]
    )


def write_differences(differences: Sequence[VariantDifference], path: Path) -> None:
    """A Markdown table of them, a row a metric."""
    lines = [
        "| data | factor | model | held against | seeds | metric | difference, 95 % interval | p | p (Holm) | shows from |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in differences:
        who = (one.table, one.factor, one.variant, one.base, f"{one.seeds[1]}, {one.seeds[0]}")
        for found in one.found:
            sure = (f"{found.p_value:.4f}", f"{found.p_holm:.4f}", f"{found.detectable:.4f}")
            lines.append(f"| {' | '.join(map(cell_text, (*who, found.metric, _moved(found), *sure)))} |")
    lines += ["", *_READING]
    write_whole(path, ("\n".join(lines) + "\n").encode())


def said(one: VariantDifference) -> str:
    """The difference in each metric, in one line."""
    return "; ".join(f"{found.metric} {_moved(found)}, p {found.p_holm:.4f} (Holm)" for found in one.found)


def _moved(found: SeedDifference) -> str:
    interval = found.interval
    return f"{interval.value:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]"


def _several(row: Row) -> bool:
    return len(row.cards) > 1 and all(card.per_user is not None for card in row.cards)


def _metrics(table: Standing, *sides: Sequence[ResultCard]) -> list[str]:
    users = [set(card.per_user.columns) for cards in sides for card in cards if card.per_user is not None]
    return main_metrics(table.question, set.intersection(*users))[:_SHOWN]


def _differences(
    base: Sequence[ResultCard], variant: Sequence[ResultCard], metrics: list[str], tables: int
) -> tuple[SeedDifference, ...]:
    with warnings.catch_warnings():
        # How many seeds there are stands in the line.
        warnings.filterwarnings("ignore", ".*say little of the spread over seeds", UserWarning)
        return tuple(difference_over_seeds(base, variant, metrics=metrics, tables=tables))


def _adjusted(told: list[VariantDifference]) -> list[VariantDifference]:
    adjusted = iter(holm([found.p_value for one in told for found in one.found]))
    return [replace(one, found=tuple(replace(found, p_holm=next(adjusted)) for found in one.found)) for one in told]
