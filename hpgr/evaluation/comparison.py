"""Result cards side by side: paired by user, and only when they answer the same question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from hpgr.core.errors import DataError
from hpgr.evaluation.card import ResultCard
from hpgr.evaluation.intervals import DEFAULT, Bootstrap
from hpgr.evaluation.significance import Difference, differences_from, paired_differences


def compare(
    first: ResultCard, second: ResultCard, *, metrics: Sequence[str] | None = None, how: Bootstrap = DEFAULT
) -> list[Difference]:
    """``second - first`` for every metric of both; positive means that the second is higher.

    Raises: DataError where the certificates or the protocols differ, or a card has no values of single users.
    """
    refuse_unlike(first, second)
    return paired_differences(user_values(first), user_values(second), how, metrics)


def compare_table(
    reference: ResultCard,
    others: Mapping[str, ResultCard],
    *,
    metrics: Sequence[str] | None = None,
    how: Bootstrap = DEFAULT,
) -> dict[str, list[Difference]]:
    """Each of ``others`` minus the ``reference``, by name; ``p_holm`` is adjusted over all cells of the table.

    Raises: DataError as ``compare`` does.
    """
    for other in others.values():
        refuse_unlike(reference, other)
    return differences_from(
        user_values(reference), {name: user_values(other) for name, other in others.items()}, how, metrics
    )


def refuse_unlike(first: ResultCard, second: ResultCard) -> None:
    """Raises: DataError where the certificates or the protocols differ."""
    if first.certificate.hash != second.certificate.hash:
        raise DataError(
            f"certificate of {second.model} ({second.certificate.hash}) must be that of {first.model} "
            f"({first.certificate.hash}); evaluate both on one split"
        )
    if first.protocol != second.protocol:
        raise DataError(
            f"protocol of {second.model} ({second.protocol}) must be that of {first.model} ({first.protocol}); "
            "evaluate both the same way"
        )


def user_values(card: ResultCard) -> pl.DataFrame:
    """The values of single users of a card.

    Raises: DataError where it has none.
    """
    if card.per_user is None:
        raise DataError(f"card of {card.model} (no values of single users) must have them; evaluate again")
    return card.per_user
