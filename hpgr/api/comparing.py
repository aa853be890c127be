"""Many runs on one store, one card each: resumable, with pre-training shared by the runs that have it in common."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from hpgr.api.evaluating import Measure
from hpgr.api.recommender import Recommender
from hpgr.core.config import to_tree
from hpgr.core.errors import DataError
from hpgr.data.sources import sources
from hpgr.data.split import split
from hpgr.data.store import SequenceStore
from hpgr.evaluation.card import CARD_FILE, ResultCard
from hpgr.evaluation.card_files import file_name
from hpgr.evaluation.writing import write_whole
from hpgr.frames.two_stage import TwoStageRecommender
from hpgr.training.run import Run
from hpgr.training.settings import Housekeeping

Question = Literal["retrieve", "rank"]
DIGITS = 12
"""Of the hash behind a run's name."""


def store_of(source: str, folder: Path, view: Mapping[str, Any], path: Path) -> SequenceStore:
    """The store at ``path``, built from a public data set's ``folder`` where it is not there yet.

    Raises: UnknownNameError for a source that does not exist; what its reader raises.
    """
    note, asked = path.with_name(f"{path.name}.source.json"), json.dumps([source, to_tree(dict(view))], sort_keys=True)
    if not path.exists():
        write_whole(note, asked.encode())
        found = sources()[source](folder, **view)
        SequenceStore.build(found.log, path, items=found.items, **found.build)
    elif note.exists() and note.read_text() != asked:
        raise DataError(
            f"store ({path}, of other options of its source) must be of {asked}; remove it or give another folder"
        )
    return SequenceStore.open(path)


def compare_runs(
    store: SequenceStore,
    runs: Sequence[Run],
    question: Question,
    folder: Path,
    *,
    say: Callable[[str], None] = lambda line: None,
    progress: bool = False,
    limit: int | None = None,
) -> list[ResultCard]:
    """Fit and evaluate each run on ``store``; the cards in the order of ``runs``.

    Cards stand in ``folder/cards/NAME``. A run whose card is there, of the same config, is not run again; a broken-off run
    continues. ``say`` is told what happens. ``limit``: questions asked of the test part at most.
    """
    how = Measure(question=question, limit=limit)
    return [run_card(store, run, how, folder, say=say, progress=progress) for run in runs]


def run_card(
    store: SequenceStore,
    run: Run,
    how: Measure,
    folder: Path,
    *,
    notes: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = lambda line: None,
    progress: bool = False,
) -> ResultCard:
    """The card of one run: the one in ``folder/cards/NAME`` if it is of this config and was asked so, else the run is fitted and asked.

    ``notes``: further monitors; where those of a kept card are others, they are replaced and nothing is asked.
    """
    assert how.question is not None
    place = folder / "cards" / file_name(run.name)
    card, kept = None, _kept(place, store, run, how)
    if kept is None:
        say(f"{run.name}: fitting")
        recommender = fitted(store, run, folder, training_name(run), progress=progress)
        card = recommender.evaluate(how=how)[how.question]
    elif notes and kept.monitors != kept.monitors | json.loads(json.dumps(notes)):
        card = kept
    if card is not None:
        kept = replace(card, monitors=card.monitors | dict(notes or {}))
        kept.save(place)
    assert kept is not None
    say(f"{run.name}: " + ", ".join(f"{name} {i.value:.4f}" for name, i in list(kept.metrics.items())[:3]))
    return kept


def fitted(store: SequenceStore, run: Run, folder: Path, name: str, *, progress: bool = False) -> Recommender:
    """``run`` trained with checkpoints in ``folder/training/NAME``; a broken-off or finished training there is taken up.

    Pre-training that another run of ``folder`` had in common is taken from ``folder/pre-training``.
    """
    training = folder / "training" / name
    shared = folder / "pre-training" / _first_stage(run) if isinstance(run.model, TwoStageRecommender.Config) else None
    if shared is not None and shared.exists() and not (training / "retrieve").exists():
        _copied(shared, training / "retrieve")
    recommender = Recommender(run).fit(
        store, keep=Housekeeping(folder=training, resume=training.exists(), progress=progress)
    )
    if shared is not None and not shared.exists():
        _copied(training / "retrieve", shared)
    return recommender


def training_name(run: Run) -> str:
    """A folder's name that is the same for equal runs alone."""
    text = json.dumps(to_tree(run), sort_keys=True)
    return f"{file_name(run.name)}-{hashlib.sha256(text.encode()).hexdigest()[:DIGITS]}"


def _kept(folder: Path, store: SequenceStore, run: Run, how: Measure) -> ResultCard | None:
    """The card in ``folder`` if it is of this run, was asked this way, and of this store."""
    if not (folder / CARD_FILE).exists():
        return None
    card = ResultCard.load(folder)
    some = "" if how.limit is None else f", {how.limit} spread evenly"
    same = (
        card.config == json.loads(json.dumps(to_tree(run))),
        card.protocol.targets.startswith(f"{how.part} part{some};"),
        card.question == how.question,
        how.question == "rank" or card.protocol.seen == ("left out" if how.exclude_seen else "kept"),
    )
    # Splitting is worth it for a card that fits otherwise only.
    return card if all(same) and split(store, run.split).certificate.hash == card.certificate.hash else None


def _copied(folder: Path, to: Path) -> None:
    """Copy whole or not at all; another process that was earlier wins."""
    part = to.with_name(f".{to.name}.{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(folder, part)
    try:
        part.rename(to)
    except OSError:
        shutil.rmtree(part)
        if not to.exists():
            raise


def _first_stage(run: Run) -> str:
    """The same for runs whose first stage is the same in every option."""
    parts = (run.model.retriever, run.windows, run.split, run.stages["retrieve"])
    text = json.dumps([*map(to_tree, parts), run.seed])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
