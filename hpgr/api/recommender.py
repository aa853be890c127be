"""Fit, evaluate, recommend, save, load: the few verbs of a Python user."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from hpgr.answering.answerer import Answerer, Wanted
from hpgr.answering.indexing import index_of
from hpgr.answering.opening import CLOCK, log_facts, open_bundle
from hpgr.answering.titles import save_titles, titles_of
from hpgr.api.batch_answers import BatchAnswer, Progress, answer_batch, weights_digest
from hpgr.api.bundle_facts import bundle_facts, stages_of
from hpgr.api.evaluating import Measure, Subject, evaluate
from hpgr.api.exporting import ExportSettings, export
from hpgr.api.fitting import fit
from hpgr.api.local_service import LocalService
from hpgr.api.material import Material
from hpgr.api.recommendations import Recommendations, recommendations
from hpgr.api.runs import actions_of, run_for
from hpgr.core.config import from_tree, to_tree
from hpgr.core.errors import ConfigError, DataError
from hpgr.data.asked_histories import AskedHistories, of_histories, of_users
from hpgr.data.requests import ExposedRequests
from hpgr.data.split_rules import SplitRule
from hpgr.data.store import SequenceStore
from hpgr.evaluation.card import ResultCard
from hpgr.frames.beginning import beginning
from hpgr.frames.bundle import Bundle, write_bundle
from hpgr.retrieval import Index
from hpgr.retrieval.faiss_index import Flat, Hnsw, IvfPq
from hpgr.training.run import Run
from hpgr.training.settings import Housekeeping
from hpgr.training.stages import StageResult


class Recommender:
    """A model from its name (or a whole ``Run``) to recommendations.

    ``fit`` trains on a store; ``load`` opens a bundle. Both leave the recommender able to ``recommend``.
    """

    def __init__(
        self, model: str | Run, *, split: SplitRule | None = None, seed: int = 1, changes: Sequence[str] = ()
    ) -> None:
        """``split``: by time where left out. ``changes``: options as ``path.to.option=value``, checked when the store's
        facts are known, at ``fit``. A ``Run`` is taken as it is."""
        self._asked, self._split, self._seed, self._changes = model, split, seed, tuple(changes)
        self._run: Run | None = model if isinstance(model, Run) else None
        self._answerer: Answerer | None = None
        self._store: SequenceStore | None = None
        self._material: Material | None = None
        self._facts: dict[str, Any] = {}
        self._titles: pl.Series | None = None
        self._folder: Path | None = None
        self.stages: dict[str, StageResult] = {}

    @property
    def run(self) -> Run:
        """The run that was, or will be, trained."""
        return self._run or self._default()

    @property
    def frame(self) -> Any:
        """The trained module, in evaluation mode."""
        return self._ready().frame

    def fit(self, store: SequenceStore, *, keep: Housekeeping | None = None) -> Recommender:
        """Train on the training part of ``store``; what is kept and shown meanwhile is ``keep``'s matter.

        Raises: DataError where the store holds too little; ConfigError or UnknownNameError for a wrong option.
        """
        if self._run is None:
            self._run = self._default(num_actions=len(actions_of(store)), exposed=store.exposures is not None)
        run, self._folder = self._run, None
        material = Material.of(store, run.split)
        frame = beginning(run.model, seed=run.seed, num_items=len(material.split.catalogue))
        self.stages = fit(frame, material, run, keep)
        self._store, self._material = store, material
        self._answerer = Answerer(
            frame=frame.eval(),
            catalogue=material.split.catalogue,
            clock=material.clock,
            max_len=run.windows.max_len,
            learnt_from_shown=isinstance(run.candidates, ExposedRequests.Config),
        )
        self._facts, self._titles = bundle_facts(material, run, self.stages), titles_of(store.item_table)
        return self

    def evaluate(self, store: SequenceStore | None = None, how: Measure = Measure()) -> dict[str, ResultCard]:
        """Result cards by question (``retrieve``, ``rank``), on the part that was held out when the model was trained.

        Raises: DataError if ``store`` gives another certificate than the one the model was trained under.
        """
        material = self._held_out(store)
        subject = Subject(name=self.run.name, frame=self.frame, run=self.run, stages=self.stages)
        return evaluate(subject, material, how)

    def recommend(
        self,
        users: Sequence[Any] | None = None,
        histories: Any = None,
        *,
        wanted: Wanted = Wanted(),
        at: int | str | datetime | None = None,
        store: SequenceStore | None = None,
        explained_events: int = 0,
    ) -> Recommendations:
        """The best items for known ``users`` (of ``store``, by default the one trained on) or for bare ``histories``.

        ``at``: the moment of the request; see ``asked_histories`` for the default and the forms of histories.
        ``explained_events``: how many history events to explain each item by.

        Raises: ConfigError unless exactly one of users and histories is given; DataError or UnsupportedError as the parts do.
        """
        asked = self._asked_histories(users, histories, at, store)
        return recommendations(self._ready(), asked, wanted, explained_events=explained_events)

    def recommend_batch(
        self,
        users: str | Path,
        out: str | Path,
        *,
        wanted: Wanted = Wanted(),
        at: int | str | datetime | None = None,
        store: SequenceStore | None = None,
        at_once: int = 10_000,
        progress: Progress | None = None,
    ) -> BatchAnswer:
        """``recommend`` for the users in a Parquet file, to ``out``; see ``answer_batch`` for its forms. A run that was killed
        goes on where it was when it is asked the same again.

        Raises: DataError if ``out`` holds something else, or ``users`` cannot be read; what ``recommend`` raises.
        """
        store = store or self.store()

        def ask(ids: Sequence[Any]) -> tuple[pl.DataFrame, int]:
            found = self.recommend(ids, wanted=wanted, at=at, store=store)
            return found.table, len(found.unknown_users)

        question = {
            "model": {"run": to_tree(self.run), "weights": weights_digest(self.frame)},
            "store": {"path": str(store.path.resolve()), "manifest": store.manifest},
            "at": at,
            "wanted": {one.name: getattr(wanted, one.name) for one in fields(wanted) if one.name != "index"},
            "index": None if wanted.index is None else repr(getattr(wanted.index, "kind", type(wanted.index).__name__)),
        }
        return answer_batch(Path(users), Path(out), ask, question, at_once=at_once, progress=progress)

    def index(
        self,
        kind: str | Flat | Hnsw | IvfPq = "hnsw",
        *,
        k: int = 10,
        num_queries: int = 200,
        store: SequenceStore | None = None,
    ) -> Index:
        """An index of the catalogue for ``Wanted.index``: ``exact`` (all items by blocks), ``flat``, ``hnsw`` or ``ivfpq`` (extra
        ``ann``), or one of those with its options.

        Its ``recall`` is measured against exact search for the first ``k`` items of ``num_queries`` users of the store.

        Raises: UnknownNameError for another name; UnsupportedError where the model has no vectors, or without the extra.
        """
        return index_of(self._ready(), self._some(num_queries, store), kind, k)

    def export(
        self,
        folder: str | Path,
        how: ExportSettings = ExportSettings(),
        *,
        store: SequenceStore | None = None,
        overwrite: bool = False,
    ) -> dict[str, Any]:
        """Write encoder and ranker to a new ``folder`` as ``how.to`` files of fixed shapes, held to the model on histories
        of the store; what its ``signature.json`` says.

        Raises: UnsupportedError, leaving nothing, for a model that cannot be exported or whose files answer otherwise.
        """
        return export(
            self._ready(),
            self._some(how.num_histories, store),
            Path(folder),
            how,
            model=self.run.name,
            actions=tuple(self._facts["actions"]),
            overwrite=overwrite,
        )

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write a bundle to ``folder``.

        Raises: DataError if something is there and ``overwrite`` is not given, or the disk is full.
        """
        answerer, folder = self._ready(), Path(folder)
        bundle = Bundle(model=self.run.name, frame=answerer.frame, items=answerer.catalogue.items, facts=self._facts)

        def beside(new: Path) -> None:
            answerer.clock.save(new / CLOCK)
            save_titles(self._titles, new)

        write_bundle(folder, bundle, overwrite=overwrite, beside=beside)
        return folder

    def serve(self, *, port: int = 0, state: str | None = None, store: SequenceStore | None = None) -> LocalService:
        """``hpgr serve`` in a process of its own, ready to be asked: ``.url`` (its page too), ``.client()``, ``.stop()``.

        ``port`` 0: a free one. ``state`` as in ``hpgr serve``; None: forgotten at the end. ``store``: whose users the page
        shows too. It ends with a ``with``, or with Python.

        Raises: UnsupportedError with the service's own sentence if it does not start.
        """
        self._ready()
        bundle = self._folder or self.save
        return LocalService(bundle, port=port, state=state, store=None if store is None else store.path)

    @classmethod
    def load(cls, folder: str | Path) -> Recommender:
        """Open what ``save`` wrote; needs no GPU and runs no code from the bundle.

        Raises: DataError or UnsupportedError as ``read_bundle`` does.
        """
        opened = open_bundle(folder)
        facts = opened.bundle.facts
        recommender = cls(from_tree(facts["run"]))
        recommender._answerer = opened.answerer
        recommender.stages = stages_of(facts)
        recommender._facts, recommender._titles = facts, opened.titles
        recommender._folder = Path(folder).resolve()
        return recommender

    def _default(self, *, num_actions: int = 0, exposed: bool = False) -> Run:
        return run_for(
            str(self._asked),
            num_actions=num_actions,
            exposed=exposed,
            split=self._split,
            seed=self._seed,
            changes=self._changes,
        )

    def _ready(self) -> Answerer:
        if self._answerer is None:
            raise ConfigError(f"model ({self._asked}) must be fitted or loaded first; call fit or Recommender.load")
        return self._answerer

    def store(self) -> SequenceStore:
        """The store that the model was trained on.

        Raises: DataError if it is no longer where it was.
        """
        if self._store is None:
            self._ready()
            path = Path(self._facts["store"])
            if not path.exists():
                raise DataError(f"store ({path}) that the model was trained on is not there; pass the store to use")
            self._store = SequenceStore.open(path)
        return self._store

    def _some(self, count: int, store: SequenceStore | None) -> AskedHistories:
        """Histories of ``count`` users, spread over the store."""
        store = store or self.store()
        rows = np.linspace(0, len(store.users) - 1, min(count, len(store.users))).astype(np.int64)
        return self._asked_histories(store.users.at(rows).to_list(), None, None, store)

    def _held_out(self, store: SequenceStore | None) -> Material:
        if self._material is None or (store is not None and store is not self._store):
            material = Material.of(store or self.store(), self.run.split)
            found, wanted = material.split.certificate.hash, self._facts["certificate"]["hash"]
            if found != wanted:
                raise DataError(
                    f"certificate of {material.store.path} ({found}) must be the one that the model was trained under "
                    f"({wanted}); evaluate on the store it was trained on"
                )
            if len(material.split.catalogue) != len(self._ready().catalogue):
                raise DataError(f"catalogue of {material.store.path} must be that of the bundle; train on this store")
            self._store, self._material = material.store, material
        return self._material

    def _asked_histories(
        self, users: Sequence[Any] | None, histories: Any, at: Any, store: SequenceStore | None
    ) -> AskedHistories:
        if (users is None) == (histories is None):
            raise ConfigError("users and histories (both or none given) must be one of the two")
        if users is not None:
            users = [users] if isinstance(users, str) or not isinstance(users, Iterable) else list(users)
            asked = of_users(store or self.store(), users, at, actions=self._facts["actions"])
            if (store or self.store()).items != self._ready().clock.items:
                raise DataError(
                    f"store ({(store or self.store()).path}) must hold the items of the bundle's log; use the store it was trained on"
                )
            return asked
        return of_histories(histories, log_facts(self._facts, self._ready().clock.items), at)


def load(folder: str | Path) -> Recommender:
    """The recommender in a bundle; see ``Recommender.load``."""
    return Recommender.load(folder)
