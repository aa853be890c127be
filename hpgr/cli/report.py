"""``hpgr report``: result cards as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hpgr.cli.door import Debug, Json
from hpgr.cli.output import emit, show


def report(
    cards: Annotated[
        list[Path], typer.Argument(metavar="CARD...", help="Folders of hpgr evaluate --out, DIR/cards/*.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="PAGE.html", help="File to write.")],
    title: Annotated[str, typer.Option("--title", metavar="TEXT", help="Heading of the page.")] = "Result report",
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write result cards as one HTML page.

    The page has tables and plots and loads nothing from elsewhere.

    Example: hpgr report results/cards/* --out report.html
    """
    from hpgr.evaluation.card import ResultCard
    from hpgr.evaluation.report import write_report

    loaded = [ResultCard.load(folder) for folder in cards]
    write_report(loaded, out, title=title)
    if json:
        emit({"report": out, "cards": len(loaded)})
    else:
        show(f"report of {len(loaded)} cards: {out}")
