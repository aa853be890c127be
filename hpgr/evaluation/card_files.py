"""Result cards on disk: found at any depth, named by where they lie, copied without the values of single users."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpgr.core.errors import DataError
from hpgr.evaluation.card import CARD_FILE, ResultCard
from hpgr.evaluation.writing import write_whole

_SIGNS = {"schema", "model", "certificate", "protocol", "metrics"}


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundCard:
    """A card, its file, and the ``collection`` that it lies in: a recipe's, a study's data set's or a folder's name."""

    path: Path
    collection: str
    card: ResultCard

    @property
    def question(self) -> str:
        """That of the card."""
        return self.card.question


def found_cards(places: Sequence[Path]) -> list[FoundCard]:
    """Every card in ``places``, folders (searched at any depth) or single files; a file given twice counts once.

    In a folder ``card.json`` must be a card; another JSON file is one where it looks like one.

    Raises: DataError where there is none, or as ``ResultCard.load`` does; FileNotFoundError for a place that is not there.
    """
    files = {path.resolve(): path for place in places for path in _files(place)}
    if not files:
        raise DataError(
            f"cards in {', '.join(map(str, places))} (0) must be at least 1; "
            "give folders of hpgr study, hpgr recipes or hpgr evaluate --out"
        )
    return [
        FoundCard(path=path, collection=collection(path), card=ResultCard.load(path))
        for _, path in sorted(files.items())
    ]


def collection(path: Path) -> str:
    """What a card's file belongs to: the first folder above it that is no card's own, ``cards`` or ``seed-N``.

    >>> collection(Path("runs/music/seed-2/cards/sasrec/card.json")), collection(Path("docs/cards/music/sasrec.json"))
    ('music', 'music')
    """
    folder = path.resolve().parent
    if path.name == CARD_FILE:
        folder = folder.parent
    while folder.name == "cards" or re.fullmatch(r"seed-\d+", folder.name):
        folder = folder.parent
    return folder.name or "results"


def file_name(name: str) -> str:
    """A name as a file's or folder's.

    >>> file_name("dense HSTU, pre-trained")
    'dense-hstu-pre-trained'
    """
    return re.sub(r"[^a-z0-9_]+", "-", name.lower()).strip("-")


def compact(card: ResultCard) -> bytes:
    """The card's JSON on one line, without the values of single users; ``ResultCard.load`` reads it."""
    text = json.dumps(card.to_json(), separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def write_compact(found: Sequence[FoundCard], folder: Path) -> list[Path]:
    """Write each card to ``folder/COLLECTION/MODEL.json``; question and seed are added to names that need them."""
    names = [(one.collection, file_name(one.card.model)) for one in found]
    for part in (lambda one: one.question, lambda one: "seed-" + "-".join(map(str, one.card.seeds))):
        several = {name for name in names if len({part(o) for o, n in zip(found, names) if n == name}) > 1}
        names = [(c, f"{n}-{part(one)}") if (c, n) in several else (c, n) for one, (c, n) in zip(found, names)]
    written: list[Path] = []
    for i, (one, (place, name)) in enumerate(zip(found, names)):
        earlier = names[:i].count((place, name))
        path = folder / file_name(place) / (f"{name}-{earlier + 1}.json" if earlier else f"{name}.json")
        write_whole(path, compact(one.card))
        written.append(path)
    return written


def _files(place: Path) -> Iterator[Path]:
    if place.is_dir():
        yield from (path for path in place.rglob("*.json") if path.name == CARD_FILE or _looks_like_a_card(path))
    elif place.exists():
        yield place
    else:
        raise FileNotFoundError(2, "No such file or directory", str(place))


def _looks_like_a_card(path: Path) -> bool:
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(tree, dict) and tree.keys() >= _SIGNS
