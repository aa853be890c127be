"""What each variant of a factor of a study is worth: its difference to the base, over the users and the seeds of both."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpgr.evaluation.card import ResultCard
from hpgr.evaluation.headlines import HEADLINES
from hpgr.evaluation.results_tables import cell_text
from hpgr.evaluation.seeds import SeedDifference, difference_over_seeds
from hpgr.evaluation.standings import Row, Standing
from hpgr.evaluation.writing import write_whole

_SHOWN = 3


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
    told = []
    for table in tables:
        rows = {row.label: row for row in table.rows if _several(row)}
        for factor, (base, *variants) in factors.items():
            for variant in variants:
                if base not in rows or variant not in rows:
                    continue
                sides = rows[base].cards, rows[variant].cards
                metrics = _metrics(table, *sides)
                if not metrics:
                    continue
                told.append(
                    VariantDifference(
                        table=table.name,
                        factor=factor,
                        base=base,
                        variant=variant,
                        seeds=(len(sides[0]), len(sides[1])),
                        found=_differences(*sides, metrics),
                    )
                )
    return told


def write_differences(differences: Sequence[VariantDifference], path: Path) -> None:
    """A Markdown table of them."""
    lines = [
        "| data | factor | model | held against | seeds | difference, 95 % interval |",
        "|---|---|---|---|---|---|",
    ]
    for one in differences:
        cells = (one.table, one.factor, one.variant, one.base, f"{one.seeds[1]}, {one.seeds[0]}", said(one))
        lines.append(f"| {' | '.join(map(cell_text, cells))} |")
    write_whole(path, ("\n".join(lines) + "\n").encode())


def said(one: VariantDifference) -> str:
    """The difference in each metric, in one line."""
    return "; ".join(
        f"{found.metric} {found.interval.value:+.4f} [{found.interval.low:+.4f}, {found.interval.high:+.4f}]"
        for found in one.found
    )


def _several(row: Row) -> bool:
    return len(row.cards) > 1 and all(card.per_user is not None for card in row.cards)


def _metrics(table: Standing, *sides: Sequence[ResultCard]) -> list[str]:
    users = [set(card.per_user.columns) for cards in sides for card in cards if card.per_user is not None]
    return [name for name in HEADLINES[table.question] if all(name in known for known in users)][:_SHOWN]


def _differences(
    base: Sequence[ResultCard], variant: Sequence[ResultCard], metrics: list[str]
) -> tuple[SeedDifference, ...]:
    with warnings.catch_warnings():
        # How many seeds there are stands in the line.
        warnings.filterwarnings("ignore", ".*say little of the spread over seeds", UserWarning)
        return tuple(difference_over_seeds(base, variant, metrics=metrics))
