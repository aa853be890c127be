"""``hpgr recipes``: list the reproduced experiments, or run one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def recipes_command(
    name: Annotated[str | None, typer.Argument(help="The recipe to run; without one, all are listed.")] = None,
    data: Annotated[
        Path | None, typer.Option(envvar="HPGR_DATA", help="Folder that holds the data sets, one folder each.")
    ] = None,
    out: Annotated[
        Path, typer.Option(help="Where store, checkpoints and cards go; a broken-off run continues there.")
    ] = Path("runs"),
    only: Annotated[list[str] | None, typer.Option(help="Run only the entries of these names.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the recipes, or run one: read the official files, train every entry, write cards, a table and a report.

    Example: hpgr recipes thirty_music_last_session --data ~/logs --out runs
    """
    from hpgr.cli.output import print_json, progress_wanted, say
    from hpgr.recipes import recipes

    if name is None:
        rows = [{"name": n, "summary": recipes()[n]().summary} for n in recipes()]
        if json_:
            print_json(rows)
        else:
            for row in rows:
                say(f"{row['name']:<28} {row['summary']}")
        return
    _run(name, data, out, only or [], progress=progress_wanted(), as_json=json_)


def _run(name: str, data: Path | None, out: Path, only: list[str], *, progress: bool, as_json: bool) -> None:
    from hpgr.api.comparing import compare_runs
    from hpgr.cli.output import print_json, print_tables, say
    from hpgr.core.errors import ConfigError, UnknownNameError
    from hpgr.data.sources import sources
    from hpgr.data.store import SequenceStore
    from hpgr.evaluation.report import write_report
    from hpgr.evaluation.table import markdown
    from hpgr.recipes import recipes

    recipe = recipes()[name]()
    if data is None:
        raise ConfigError("data (not given) must be the folder that holds the data sets; pass --data or set HPGR_DATA")
    for entry in only:
        if entry not in [run.name for run in recipe.entries]:
            raise UnknownNameError.of("entry", entry, [run.name for run in recipe.entries])
    folder = out / name
    if not (folder / "store").exists():
        source = sources()[recipe.source](data / recipe.folder, **recipe.view)
        SequenceStore.build(source.log, folder / "store", items=source.items, **source.build)
    store = SequenceStore.open(folder / "store")
    chosen = [run for run in recipe.entries if not only or run.name in only]
    cards = compare_runs(store, chosen, recipe.question, folder, say=say, progress=progress)
    (folder / "table.md").write_text(markdown(cards))
    write_report(cards, folder / "report.html", title=recipe.summary)
    if as_json:
        print_json([card.to_json() for card in cards])
    else:
        print_tables(cards)
        say(f"cards, table.md and report.html in {folder}")
