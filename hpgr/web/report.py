"""The page as one file: a user's history, the answer to it and its reasons, with everything a browser needs inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpgr.core.errors import DataError, HpgrError, UnsupportedError
from hpgr.data.store import SequenceStore
from hpgr.evaluation.writing import write_whole
from hpgr.frames.bundle import read_facts
from hpgr.serving.engine import Engine
from hpgr.serving.questions import Question
from hpgr.serving.settings import EngineSettings
from hpgr.serving.sqlite_states import SqliteStates
from hpgr.web.files import single_file
from hpgr.web.item_map import item_map
from hpgr.web.messages import Ask, Explain
from hpgr.web.microscope import about, look
from hpgr.web.names import Names
from hpgr.web.people import People
from hpgr.web.quality import of_bundle
from hpgr.web.reasons import explain

_LEFT_OUT = 60
_COMPARED = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportRequest:
    """``user`` of the ``store``, asked ``at_ms`` (None: just after the store's newest event) for ``k`` items."""

    user: str
    store: Path
    k: int = 10
    at_ms: int | None = None
    cards: tuple[Path, ...] = ()


def store_of(bundle: Path) -> Path:
    """Where the store was when the bundle was trained.

    Raises: DataError if it is there no more, or the bundle does not say.
    """
    path = Path(read_facts(bundle)["store"])
    if not path.exists():
        raise DataError(
            f"store ({path}) that the model was trained on is not there; pass the store to use with --store"
        )
    return path


def write_page(bundle: Path, request: ReportRequest, path: Path) -> dict[str, Any]:
    """Write the page of one user to ``path``, whole or not at all; what it tells.

    Raises: DataError for an unknown user or a store of other items; what opening the bundle and asking it raise.
    """
    states = SqliteStates(":memory:")
    try:
        data = page_data(Engine(bundle, states, EngineSettings()), states, request)
    finally:
        states.close()
    write_whole(path, single_file(data, f"Why: {request.user} · {bundle.name}").encode())
    return data


def page_data(engine: Engine, states: SqliteStates, request: ReportRequest) -> dict[str, Any]:
    """All that the page would ask, answered beforehand; each of the newest events left out once."""
    names = Names(engine)
    people = People(states, SequenceStore.open(request.store), engine.answerer.clock.items)
    ask = Ask(user_id=request.user, k=request.k, at=request.at_ms)
    past = people.past(ask, 0, engine.log.end_ms)
    seen = look(engine, names, past, ask)
    shown = [item["item_id"] for item in seen["items"]]
    newest = [event["seq"] for event in seen["events"] if event["read"]][-_LEFT_OUT:]
    without = {seq: look(engine, names, past, ask.model_copy(update={"removed": [seq]}))["items"] for seq in newest}
    quality = of_bundle(engine.folder, engine.model, engine.facts, request.cards)
    tree = quality.tree()
    return {
        "about": about(engine, names),
        "look": seen,
        "explained": {
            item: explain(engine, names, past, Explain(user_id=request.user, at=request.at_ms, item_id=item))
            for item in shown
        },
        "without": without,
        "map": _or_none(lambda: item_map(engine, names)),
        "near": {item: _near(engine, names, item) for item in shown},
        "quality": tree,
        "compared": _compared(quality, tree["groups"]),
    }


def _near(engine: Engine, names: Names, item: str) -> list[dict[str, Any]]:
    try:
        return [names.of(other) | {"score": score} for other, score in engine.similar(item, Question(k=10)).items]
    except HpgrError:  # an item that training never saw is like no other
        return []


def _or_none(made: Any) -> Any:
    try:
        return made()
    except UnsupportedError:
        return None


def _compared(quality: Any, groups: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The bundle's own card of each question against the others."""
    found = []
    for group in groups:
        cards = [card["name"] for card in group["cards"] if card["comparable"]]
        for other in cards[1 : 1 + _COMPARED]:
            found.append({"first": other, "second": cards[0], "differences": quality.compared(other, cards[0])})
    return found
