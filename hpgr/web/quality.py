"""How good the bundle was measured to be: the result cards that lie in it or beside it, and two of them compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hpgr.core.errors import DataError, UnknownNameError
from hpgr.evaluation.card import ResultCard
from hpgr.evaluation.card_files import FoundCard, found_cards
from hpgr.evaluation.comparison import compare
from hpgr.evaluation.table import groups

_BESIDE = ("cards", "results/cards")


@dataclass(kw_only=True, slots=True)
class Quality:
    """Cards in ``given`` or, where nothing was given, in ``BUNDLE/cards``, ``cards`` and ``results/cards`` beside the bundle.

    Read again where a file changed. Only those under the bundle's certificate are shown: others answer other questions.
    """

    bundle: Path
    model: str
    certificate: str
    given: tuple[Path, ...] = ()
    _stamp: tuple[tuple[str, int], ...] = ()
    _cards: dict[str, ResultCard] = field(default_factory=dict)
    _elsewhere: int = 0

    def tree(self) -> dict[str, Any]:
        """``groups`` of cards that answer one question, the bundle's own first; ``looked_in``, and how many cards are ``elsewhere``.

        Raises: DataError or UnsupportedError for a file that is no card.
        """
        self._read()
        name_of = {id(card): name for name, card in self._cards.items()}
        found = groups(sorted(self._cards.values(), key=lambda card: card.model != self.model))
        return {
            "looked_in": [place.name for place in self.given]
            or ["cards in the bundle", *(f"{b} beside it" for b in _BESIDE)],
            "elsewhere": self._elsewhere,
            "certificate": self.certificate,
            "groups": [
                {
                    "question": group.cards[0].question,
                    "protocol": asdict(group.cards[0].protocol),
                    "data": {name: _plain(value) for name, value in group.cards[0].data.items()},
                    "metrics": group.metrics,
                    "cards": [self._card(name_of[id(card)], card) for card in group.cards],
                }
                for group in found
            ],
        }

    def compared(self, first: str, second: str) -> list[dict[str, Any]]:
        """``second - first`` for every metric that both have, paired by user.

        Raises: UnknownNameError for a card that is not listed; DataError where the two cannot be compared.
        """
        self._read()
        for name in (first, second):
            if name not in self._cards:
                raise UnknownNameError.of("card", name, self._cards)
        return [_plain(asdict(one)) for one in compare(self._cards[first], self._cards[second])]

    def _card(self, name: str, card: ResultCard) -> dict[str, Any]:
        return {
            "name": name,
            "model": card.model,
            "own": card.model == self.model,
            "created": card.created,
            "commit": card.commit,
            "seeds": list(card.seeds),
            "num_parameters": card.num_parameters,
            "comparable": card.per_user is not None,
            "metrics": _plain({metric: asdict(interval) for metric, interval in card.metrics.items()}),
            "slices": _plain([asdict(part) for part in card.slices]),
            "calibration": None if card.calibration is None else _plain(asdict(card.calibration)),
        }

    def _places(self) -> list[Path]:
        return list(self.given) or [self.bundle / "cards", *(self.bundle.parent / place for place in _BESIDE)]

    def _read(self) -> None:
        places = [place for place in self._places() if place.is_dir()]
        files = sorted(path for place in places for path in place.rglob("*.json"))
        stamp = tuple((str(path), path.stat().st_mtime_ns) for path in files)
        if stamp == self._stamp:
            return
        found = found_cards(places) if files else []
        mine = [one for one in found if one.card.certificate.hash == self.certificate]
        self._cards = dict(zip(_names(mine), (one.card for one in mine)))
        self._elsewhere, self._stamp = len(found) - len(mine), stamp


def of_bundle(bundle: Path, model: str, facts: dict[str, Any], given: Sequence[Path]) -> Quality:
    """The cards of an opened bundle.

    Raises: DataError if a given place is no folder.
    """
    for place in given:
        if not place.is_dir():
            raise DataError(f"cards ({place}) must be a folder of result cards, such as hpgr evaluate --out writes")
    return Quality(bundle=bundle, model=model, certificate=facts["certificate"]["hash"], given=tuple(given))


def _names(found: Sequence[FoundCard]) -> list[str]:
    """``MODEL-QUESTION``, numbered where several share it."""
    names = [f"{one.card.model}-{one.question}" for one in found]
    earlier = [names[:i].count(name) for i, name in enumerate(names)]
    return [f"{name}-{count + 1}" if count else name for name, count in zip(names, earlier)]


def _plain(value: Any) -> Any:
    """JSON values; what is not finite becomes None."""
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
