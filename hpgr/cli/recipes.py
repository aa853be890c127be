"""``hpgr recipes``: list the reproduced experiments, or run one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hpgr.cli.door import Debug, Json
from hpgr.cli.output import emit, remark, show, table
from hpgr.core.errors import ConfigError, UnknownNameError


def recipes(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="The recipe to run; without one, all are listed.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DIR", envvar="HPGR_DATA", help="Holds the data sets, a folder each."),
    ] = None,
    out: Annotated[
        Path,
        typer.Option("--out", metavar="DIR", help="For store, checkpoints, cards; a broken-off run goes on there."),
    ] = Path("runs"),
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="ENTRY", help="Run this entry only; repeatable.")
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """List the recipes, or run one: read the official files, train every entry, write cards, a table and a report.

    Example: hpgr recipes thirty_music_last_session --data ~/logs --out runs
    """
    from hpgr.recipes import recipes as known

    if name is not None:
        _run(name, data, out, only or [], json=json)
        return
    found = {recipe: known()[recipe]().summary for recipe in known()}
    if json:
        emit(found)
    else:
        show(table(["recipe", "what it asks"], list(found.items())))


def _run(name: str, data: Path | None, out: Path, only: list[str], *, json: bool) -> None:
    from hpgr.api.comparing import run_card, store_of
    from hpgr.api.evaluating import Measure
    from hpgr.evaluation.report import write_report
    from hpgr.evaluation.table import markdown, terminal
    from hpgr.recipes import recipes as known

    recipe, folder = known()[name](), out / name
    entries = [run.name for run in recipe.entries]
    for entry in only:
        if entry not in entries:
            raise UnknownNameError.of("entry", entry, entries)
    if data is None and recipe.folder:
        raise ConfigError("data (not given) must be the folder of the data sets; give --data or set HPGR_DATA")
    store = store_of(recipe.source, (data or Path()) / recipe.folder, recipe.view, folder / "store")
    chosen = [run for run in recipe.entries if not only or run.name in only]
    how = Measure(question=recipe.question, limit=recipe.limit, exclude_seen=recipe.exclude_seen)
    cards = [run_card(store, run, how, folder, say=remark, progress=True) for run in chosen]
    (folder / "table.md").write_text(markdown(cards, recipe.published))
    write_report(cards, folder / "report.html", title=recipe.summary)
    if json:
        emit({card.model: card.to_json() for card in cards})
    else:
        show(*terminal(cards, recipe.published), f"Cards, table.md and report.html stand in {folder}.")
