"""``hpgr leaderboard``: result cards as one static page, as Markdown tables, as compact cards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpgr.cli.door import Debug, Json
from hpgr.cli.output import emit, show, table

if TYPE_CHECKING:
    from hpgr.evaluation.standings import Standing


def leaderboard(
    cards: Annotated[
        list[Path], typer.Argument(metavar="CARD...", help="Folders, searched at any depth, or single card files.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="For index.html and leaderboard.json.")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE.md", help="Page whose marked part gets the tables.")
    ] = None,
    compact: Annotated[
        Path | None, typer.Option("--cards", metavar="DIR", help="For copies without the values of single users.")
    ] = None,
    title: Annotated[str, typer.Option("--title", metavar="TEXT", help="Heading of the page.")] = "Leaderboard",
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Put result cards into tables, one for each certificate, protocol and question.

    Seeds of one model are one row; a row below a counting baseline is flagged. The marks of a Markdown page are
    <!-- tables --> and <!-- end of tables -->. Equal cards make equal bytes.

    Example: hpgr leaderboard studies runs/*/cards --out docs/leaderboard
    """
    from hpgr.evaluation.card_files import found_cards, write_compact
    from hpgr.evaluation.leaderboard import leaderboard_tree, write_leaderboard
    from hpgr.evaluation.results_tables import write_markdown
    from hpgr.evaluation.standings import standings

    found = found_cards(cards)
    tables, written = standings(found), []
    if markdown is not None:
        write_markdown(tables, markdown)
        written.append(f"tables: {markdown}")
    if compact is not None:
        write_compact(found, compact)
        written.append(f"compact cards: {compact}")
    if out is not None:
        write_leaderboard(tables, out, title=title)
        written.append(f"leaderboard of {len(found)} cards: {out / 'index.html'}")
    if json:
        emit(leaderboard_tree(tables, title=title))
    else:
        show(*map(standing_table, tables), *written)


def standing_table(standing: Standing) -> Any:
    """The main metrics of one table, for a terminal."""
    from hpgr.evaluation.results_tables import shown

    main = standing.main[:4]
    rows = [
        [
            row.label,
            *(shown(row, name) for name in main),
            len(row.seeds),
            row.trials,
            f"below {', '.join(row.below)}" if row.below else "",
        ]
        for row in standing.rows
    ]
    return table(["model", *main, "seeds", "trials", ""], rows, title=standing.name)
