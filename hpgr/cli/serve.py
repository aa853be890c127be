"""``hpgr serve``: live recommendations from a bundle, over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpgr.cli.door import Debug, Json
from hpgr.cli.output import emit, show
from hpgr.core.errors import ConfigError

if TYPE_CHECKING:
    from hpgr.serving.service import Service


def serve(
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE", help="What hpgr train wrote; POST /v1/reload reads it again.")
    ],
    state: Annotated[
        str, typer.Option("--state", metavar="sqlite:PATH|redis://...", help="Where users' events are kept.")
    ] = "sqlite:hpgr-state.sqlite",
    host: Annotated[str, typer.Option("--host", metavar="HOST", help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, metavar="P", help="Port to listen at.")] = 8000,
    workers: Annotated[int, typer.Option("--workers", min=1, metavar="N", help="Processes; several need Redis.")] = 1,
    threads: Annotated[int, typer.Option("--threads", min=1, metavar="N", help="Of the model, in each process.")] = 1,
    api_key_file: Annotated[
        Path | None, typer.Option("--api-key-file", metavar="FILE", help="Its first line must come with every request.")
    ] = None,
    shadow: Annotated[
        Path | None, typer.Option("--shadow", metavar="BUNDLE", help="A bundle to compare with, unseen by callers.")
    ] = None,
    shadow_share: Annotated[
        float | None,
        typer.Option(
            "--shadow-share", metavar="SHARE", help="Of the questions that the shadow gets; 0.1 unless given."
        ),
    ] = None,
    memory_mb: Annotated[
        int, typer.Option("--memory-mb", min=1, metavar="MB", help="For histories held in memory, in each process.")
    ] = 256,
    state_mb: Annotated[
        int,
        typer.Option("--state-mb", min=0, metavar="MB", help="For what the model worked out of them, in each process."),
    ] = 256,
    moment: Annotated[
        float,
        typer.Option(
            "--moment", min=0, metavar="SECONDS", help="Questions about now are asked at whole ones of these."
        ),
    ] = 1.0,
    prior: Annotated[
        str, typer.Option("--prior", metavar="recent|context|training", help="What is popular: asked for who is new.")
    ] = "recent",
    index: Annotated[
        str,
        typer.Option("--index", metavar="exact|flat|hnsw|ivfpq", help="What finds candidates (extra ann but exact)."),
    ] = "exact",
    items: Annotated[
        Path | None,
        typer.Option("--items", metavar="FILE", help="Items newer than the bundle: item_id and categories."),
    ] = None,
    page: Annotated[bool, typer.Option("--page/--no-page", help="The page at / that shows why.")] = True,
    store: Annotated[
        Path | None,
        typer.Option("--store", metavar="STORE", help="A training log whose users the page at / shows too."),
    ] = None,
    cards: Annotated[
        list[Path] | None,
        typer.Option("--cards", metavar="DIR", help="Result cards for the page; by default those beside the bundle."),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Serve recommendations over HTTP, with a page at / that shows why; its routes are described at /docs.

    Example: hpgr serve bundle --state sqlite:state.sqlite --port 8000
    """
    from hpgr.serving.running import HERE, read_key, run
    from hpgr.serving.settings import EngineSettings, ServiceSettings
    from hpgr.web.settings import FACTORY, PageSettings

    if not page and (store is not None or cards):
        raise ConfigError("store and cards (given) must not be given with --no-page; they are for the page")
    settings = ServiceSettings(
        bundle=bundle,
        state=state,
        api_key=read_key(api_key_file),
        shadow=shadow,
        shadow_share=(0.0 if shadow is None else 0.1) if shadow_share is None else shadow_share,
        threads=threads,
        engine=EngineSettings(
            memory_mb=memory_mb,
            state_mb=state_mb,
            moment_s=moment,
            prior=prior,  # type: ignore[arg-type]
            index=index,
            items=None if items is None else str(items),
        ),
    )

    def say(facts: dict[str, str]) -> None:
        if json:
            emit(facts)
        else:
            show(f"{facts['model']} ({facts['fingerprint']}) answers at {facts['url']}; routes: {facts['url']}/docs")
            if page:
                show(f"the page: {facts['url']}/")

    shown = PageSettings(store=store, cards=tuple(cards or ()))

    def application(service: Service) -> Any:
        from hpgr.web.page import application

        return application(service, shown)

    shown.to_environment()
    run(
        settings,
        host=host,
        port=port,
        workers=workers,
        key_file=api_key_file,
        announce=say,
        application=application if page else None,
        factory=FACTORY if page else HERE,
    )
