"""``hpgr report``: result cards as one page, or one user of a bundle as one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hpgr.cli.door import Debug, Json
from hpgr.cli.output import emit, show
from hpgr.core.errors import ConfigError


def report(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="CARD...|BUNDLE", help="Folders of hpgr evaluate --out, DIR/cards/*; or a bundle."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="PAGE.html", help="File to write, from result cards.")
    ] = None,
    title: Annotated[str, typer.Option("--title", metavar="TEXT", help="Heading of the page.")] = "Result report",
    user: Annotated[str | None, typer.Option("--user", metavar="ID", help="Of a bundle: whose page to write.")] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="PAGE.html", help="File to write, from a bundle and a user.")
    ] = None,
    store: Annotated[
        Path | None, typer.Option("--store", metavar="STORE", help="Of the user; by default where it was at training.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, max=50, metavar="K", help="Items recommended to the user.")] = 10,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="Moment of the request: 2024-05-01T12:00, or ms.")
    ] = None,
    cards: Annotated[
        list[Path] | None,
        typer.Option(
            "--cards", metavar="DIR", help="Result cards for the user's page; by default those beside the bundle."
        ),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write result cards, or why a user of a bundle is recommended what, as one HTML page.

    The page loads nothing from elsewhere.

    Example: hpgr report results/cards/* --out report.html; hpgr report bundle --user 42 --html why.html
    """
    if (user is None) != (html is None):
        raise ConfigError("user and html (one of them given) must be given together, with a bundle")
    if (out is None) == (html is None):
        raise ConfigError(
            "out and html (both or none given) must be one of the two: --out for cards, --html for a user"
        )
    if user is not None and html is not None:
        answer = _of_user(sources, user, html, (store, k, at, tuple(cards or ())))
        if json:
            emit(answer)
        else:
            show(f"page of user {user}, {answer['items']} items explained: {html}")
        return
    assert out is not None
    from hpgr.evaluation.card import ResultCard
    from hpgr.evaluation.report import write_report

    loaded = [ResultCard.load(folder) for folder in sources]
    write_report(loaded, out, title=title)
    if json:
        emit({"report": out, "cards": len(loaded)})
    else:
        show(f"report of {len(loaded)} cards: {out}")


def _of_user(
    sources: list[Path], user: str, html: Path, wanted: tuple[Path | None, int, str | None, tuple[Path, ...]]
) -> dict[str, object]:
    from hpgr.data.asked_histories import moment_ms
    from hpgr.web.report import ReportRequest, store_of, write_page

    if len(sources) != 1:
        raise ConfigError(f"bundle ({len(sources)} paths) must be one path with --user")
    store, k, at, cards = wanted
    moment = int(at) if at is not None and at.lstrip("-").isdigit() else at
    request = ReportRequest(
        user=user,
        store=store_of(sources[0]) if store is None else store,
        k=k,
        at_ms=None if moment is None else moment_ms(moment, default=0),
        cards=cards,
    )
    data = write_page(sources[0], request, html)
    return {"page": html, "user": user, "items": len(data["look"]["items"])}
