"""``hpgr recommend``: the best items for known users or for bare histories, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from hpgr.cli.answers import (
    answer_tree,
    explanation_table,
    recommendation_table,
    say_unknown,
    tell_batch,
    write_answer,
)
from hpgr.cli.door import Debug, Json
from hpgr.cli.output import counted, emit, listed, show
from hpgr.core.errors import ConfigError, DataError

_TABLES = (".parquet", ".csv", ".tsv", ".arrow", ".ipc", ".feather")


def recommend(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="What hpgr train wrote.")],
    users: Annotated[
        list[str] | None, typer.Option("--user", metavar="ID", help="A user of the store; repeatable.")
    ] = None,
    history: Annotated[
        str | None,
        typer.Option(
            "--history",
            "--items",
            metavar="FILE|A,B,C",
            help="A table of events in the log's columns, or item ids, oldest first; '' for none.",
        ),
    ] = None,
    batch: Annotated[
        Path | None,
        typer.Option(
            "--batch", metavar="USERS.parquet", help="All users of a file, to --out; asked again, it goes on."
        ),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, metavar="K", help="Items for each user.")] = 10,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="Moment of the request: 2024-05-01T12:00, or ms.")
    ] = None,
    exclude_seen: Annotated[bool, typer.Option("--exclude-seen", help="Leave out items of the history.")] = False,
    candidates: Annotated[
        str | None, typer.Option("--candidates", metavar="FILE|A,B,C", help="Only these items.")
    ] = None,
    by: Annotated[
        str,
        typer.Option("--by", metavar="auto|retrieve|rank", help="What orders; auto: the ranker where there is one."),
    ] = "auto",
    variety: Annotated[
        float,
        typer.Option(
            "--variety", min=0.0, metavar="X", help="Taken off a score for each item of its categories above it."
        ),
    ] = 0.0,
    explain: Annotated[bool, typer.Option("--explain", help="Show the events that matter most to each item.")] = False,
    explain_events: Annotated[
        int, typer.Option("--explain-events", min=1, metavar="N", help="Events to explain each item by.")
    ] = 5,
    store: Annotated[
        Path | None, typer.Option("--store", metavar="STORE", help="Of the users; by default where it was at training.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="Write .parquet or .csv instead; with --batch .parquet or a folder."
        ),
    ] = None,
    at_once: Annotated[
        int, typer.Option("--at-once", min=1, metavar="N", help="Users of a part of --batch, held in memory together.")
    ] = 10_000,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Recommend to known users, to all users of a file, or for any history.

    Ids that nobody knows are named on standard error (counted, of a file) and the rest is answered; exit code 1 if nothing is.

    Example: hpgr recommend bundle --user 42 -k 10 --explain
    """
    from hpgr.answering.answerer import By, Wanted
    from hpgr.api.recommender import Recommender
    from hpgr.data.store import SequenceStore

    if bool(users) + (history is not None) + (batch is not None) != 1:
        raise ConfigError("user, history and batch (several or none given) must be one of the three")
    if batch is not None and (out is None or explain):
        raise ConfigError(f"batch ({batch}) must be given with --out, and without --explain")
    if batch is None and out is not None and out.suffix not in (".parquet", ".csv"):
        raise ConfigError(f"out ({out}) must end in .parquet or .csv")
    if batch is not None and out is not None and out.suffix in _TABLES and out.suffix != ".parquet":
        raise ConfigError(f"out ({out}) must end in .parquet or be a folder")
    wanted = Wanted(
        k=k,
        exclude_seen=exclude_seen,
        candidates=None if candidates is None else _candidates(candidates),
        by=cast(By, by),
        variety=variety,
    )
    recommender, opened = Recommender.load(bundle), None if store is None else SequenceStore.open(store)
    moment = int(at) if at is not None and at.lstrip("-").isdigit() else at
    if batch is not None and out is not None:
        with counted("users") as progress:
            done = recommender.recommend_batch(
                batch, out, wanted=wanted, at=moment, store=opened, at_once=at_once, progress=progress
            )
        tell_batch(done, json=json)
        return
    found = recommender.recommend(
        users or None,
        None if history is None else _history(history),
        wanted=wanted,
        at=moment,
        store=opened,
        explained_events=explain_events if explain else 0,
    )
    say_unknown(found)
    if not len(found.table):
        raise DataError("recommendations (0) must be at least one; no user is known, or nothing is left to recommend")
    if out is not None:
        write_answer(found.table, out)
    if json:
        emit(answer_tree(found))
        return
    if out is not None:
        show(f"{len(found.table):,} recommendations: {out}")
    else:
        show(recommendation_table(found.table))
    if found.explanations is not None:
        show(explanation_table(found.explanations))


def _is_file(text: str) -> bool:
    """Told by the ending, so that no id is mistaken for a file that happens to lie there."""
    return text.endswith(("/", *_TABLES))


def _history(text: str) -> Any:
    return text if _is_file(text) else _ids(text)


def _ids(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _candidates(text: str) -> list[Any]:
    """Ids on the command line, or the column ``item_id``, else the only one, of a file."""
    if not _is_file(text):
        return _ids(text)
    from hpgr.data.reading import open_table

    opened, name = open_table(text, ids=("item_id",))
    names = opened.collect_schema().names()
    column = "item_id" if "item_id" in names else names[0] if len(names) == 1 else None
    if column is None:
        raise DataError(f"column item_id of candidates {name} (absent) must be present; it has {listed(names)}")
    return opened.select(column).collect().to_series().to_list()
