"""The page behind HTTP: what it asks is answered one look at a time, beside the service's own work and never in its way."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from functools import cached_property
from pathlib import Path
from typing import Any

from hpgr.core.errors import HpgrError
from hpgr.data.store import SequenceStore
from hpgr.serving.app import Addition, create_app
from hpgr.serving.batching import Batcher
from hpgr.serving.engine import Engine
from hpgr.serving.running import service_from_environment
from hpgr.serving.service import Service
from hpgr.web.item_map import item_map
from hpgr.web.microscope import about
from hpgr.web.names import Names
from hpgr.web.people import People
from hpgr.web.quality import Quality, of_bundle
from hpgr.web.settings import PageSettings

_WAITING = 32


class Shown:
    """One bundle as the page shows it; made anew after a reload."""

    def __init__(self, engine: Engine, service: Service, store: SequenceStore | None, cards: tuple[Path, ...]) -> None:
        self.engine = engine
        self.names = Names(engine)
        self.people = People(service.states, store, engine.answerer.clock.items)
        self.quality: Quality = of_bundle(engine.folder, engine.model, engine.facts, cards)

    @cached_property
    def map(self) -> dict[str, Any]:
        """Raises: UnsupportedError for a model without item vectors."""
        return item_map(self.engine, self.names)

    def about(self) -> dict[str, Any]:
        """See ``microscope.about``."""
        return about(self.engine, self.names)


class Page:
    """What the routes of the page ask. Jobs wait in a queue of their own; too many are turned away."""

    def __init__(self, service: Service, settings: PageSettings) -> None:
        """Raises: DataError if the store or a folder of cards cannot be used."""
        self.service, self._settings = service, settings
        self._store = None if settings.store is None else SequenceStore.open(settings.store)
        self._shown = self._of(service.engine)
        self._looking: Batcher[Callable[[Shown], Any], Any] = Batcher("page", self._done, most=1, queue=_WAITING)

    def ask(self, job: Callable[[Shown], Any]) -> Future[Any]:
        """What ``job`` gives for the bundle that answers now.

        Raises: OverCapacity.
        """
        return self._looking.submit(job)

    def close(self) -> None:
        """Finish what waits."""
        self._looking.close()

    def _done(self, jobs: list[Callable[[Shown], Any]]) -> list[Any]:
        engine = self.service.engine
        if self._shown.engine is not engine:
            self._shown = self._of(engine)
        results: list[Any] = []
        for job in jobs:
            try:
                results.append(job(self._shown))
            except HpgrError as error:
                results.append(error)
        return results

    def _of(self, engine: Engine) -> Shown:
        return Shown(engine, self.service, self._store, self._settings.cards)


def application(service: Service, settings: PageSettings) -> Any:
    """The service's application with the page at ``/``.

    Raises: DataError as ``Page`` does.
    """
    from hpgr.web.routes import open_paths, routes

    page = Page(service, settings)
    return create_app(service, Addition(router=routes(page), open=open_paths(), close=page.close))


def from_environment() -> Any:
    """The application of one worker among several, with the page."""
    return application(service_from_environment(), PageSettings.of_environment())
