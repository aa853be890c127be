"""Two result cards side by side: paired by user, and only when they answer the same question."""

from __future__ import annotations

from collections.abc import Sequence

from hpgr.core.errors import DataError
from hpgr.evaluation.card import ResultCard
from hpgr.evaluation.intervals import DEFAULT, Bootstrap, Difference, paired_differences


def compare(
    first: ResultCard, second: ResultCard, *, metrics: Sequence[str] | None = None, how: Bootstrap = DEFAULT
) -> list[Difference]:
    """``second - first`` for every metric of both; positive means that the second is higher.

    Raises: DataError where the certificates or the protocols differ, or a card has no values of single users.
    """
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
    for card in (first, second):
        if card.per_user is None:
            raise DataError(f"card of {card.model} (no values of single users) must have them; evaluate again")
    assert first.per_user is not None
    assert second.per_user is not None
    return paired_differences(first.per_user, second.per_user, how, metrics)
