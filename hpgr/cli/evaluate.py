"""``hpgr evaluate``: result cards of a bundle, beside baselines or another bundle."""

from __future__ import annotations

from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from hpgr.cli.door import Debug, Json
from hpgr.cli.output import emit, show, table
from hpgr.core.errors import ConfigError

if TYPE_CHECKING:
    from hpgr.evaluation.card import ResultCard
    from hpgr.evaluation.significance import Difference

_COMPARED = (
    "p: signs of users' differences flipped at random. Holm: adjusted for the metrics of a table. "
    "Of one training each: what other seeds would give is not in it."
)


def evaluate(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="What hpgr train wrote.")],
    store: Annotated[
        Path | None, typer.Argument(metavar="STORE", help="The store it was trained on; by default where it was then.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder for the cards and report.html.")
    ] = None,
    baselines: Annotated[bool, typer.Option("--baselines", help="Also the models that count.")] = False,
    other: Annotated[
        Path | None, typer.Option("--compare", metavar="BUNDLE2", help="Differences to this bundle, paired by user.")
    ] = None,
    part: Annotated[str, typer.Option("--part", metavar="test|validation", help="The part that is asked.")] = "test",
    question: Annotated[
        str | None, typer.Option("--question", metavar="retrieve|rank", help="One question; by default all it answers.")
    ] = None,
    exclude_seen: Annotated[
        bool, typer.Option("--exclude-seen", help="Leave out items of the user's history.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, metavar="N", help="Ask only so many, spread evenly.")
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure a bundle on what was held out.

    Intervals are over users; the part was held out when the bundle was trained.

    Example: hpgr evaluate bundle --baselines --out results
    """
    from hpgr.api.baselines import baselines_of
    from hpgr.api.evaluating import Measure
    from hpgr.api.recommender import Recommender
    from hpgr.data.store import SequenceStore
    from hpgr.evaluation.comparison import compare
    from hpgr.evaluation.report import write_report
    from hpgr.evaluation.table import terminal

    if part not in ("test", "validation"):
        raise ConfigError(f"part ({part}) must be test or validation")
    if question not in (None, "retrieve", "rank"):
        raise ConfigError(f"question ({question}) must be retrieve or rank")
    how = Measure(
        part=cast(Literal["test", "validation"], part),
        question=cast('Literal["retrieve", "rank"] | None', question),
        exclude_seen=exclude_seen,
        limit=limit,
    )
    first = Recommender.load(bundle)
    second = None if other is None else Recommender.load(other)
    opened = first.store() if store is None else SequenceStore.open(store)
    cards = {bundle.name: first.evaluate(opened, how)}
    if second is not None and other is not None:
        cards[_unlike(other.name, cards)] = second.evaluate(opened, how)
    if baselines:
        for name, counted in baselines_of(first.run, opened, how, tuple(cards[bundle.name])).items():
            cards[_unlike(name, cards)] = counted
    differences: dict[str, list[Difference]] = {}
    if second is not None:
        mine, theirs = list(cards.values())[:2]
        differences = {name: compare(mine[name], theirs[name]) for name in mine if name in theirs}
    every = [card for found in cards.values() for card in found.values()]
    if out is not None:
        save_cards(cards, out / "cards")
        write_report(every, out / "report.html", title=f"{bundle.name}: {opened.path.name}")
    if json:
        trees = {name: {q: card.to_json() for q, card in found.items()} for name, found in cards.items()}
        emit({"cards": trees, "differences": differences_tree(differences), "out": out})
        return
    show(*terminal(every))
    for name, found in differences.items():
        first_name, second_name = list(cards)[:2]
        show(_difference_table(first_name, second_name, name, found))
    if differences:
        show(_COMPARED)
    if out is not None:
        show(f"cards: {out / 'cards'}", f"report: {out / 'report.html'}")


def save_cards(cards: dict[str, dict[str, ResultCard]], folder: Path) -> None:
    """A folder for each card, ``NAME-QUESTION``."""
    for name, found in cards.items():
        for question, card in found.items():
            card.save(folder / f"{name}-{question}")


def differences_tree(differences: dict[str, list[Difference]]) -> dict[str, Any]:
    """JSON values by question."""
    from dataclasses import asdict

    return {question: [asdict(difference) for difference in found] for question, found in differences.items()}


def _unlike(name: str, taken: dict[str, Any]) -> str:
    return next(new for new in chain((name,), (f"{name}-{n}" for n in count(2))) if new not in taken)


def _difference_table(first: str, second: str, question: str, found: list[Difference]) -> Any:
    from hpgr.evaluation.table import formatted

    rows = [(d.metric, d.first, d.second, formatted(d.interval), d.p_value, d.p_holm, d.detectable) for d in found]
    header = ["metric", first, second, "difference [interval]", "p", "p (Holm)", "detectable"]
    return table(header, rows, title=f"{second} minus {first}, {question}")
