"""Many runs on one store, one card each: resumable, with pre-training shared by the runs that have it in common."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from hpgr.api.evaluating import Measure
from hpgr.api.recommender import Recommender
from hpgr.core.config import to_tree
from hpgr.data.store import SequenceStore
from hpgr.evaluation.card import CARD_FILE, ResultCard
from hpgr.frames.two_stage import TwoStageRecommender
from hpgr.training.run import Run
from hpgr.training.settings import Housekeeping

Question = Literal["retrieve", "rank"]


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
    cards = []
    for run in runs:
        card = _kept(folder / "cards" / file_name(run.name), run)
        if card is None:
            say(f"{run.name}: fitting")
            card = _run(store, run, Measure(question=question, limit=limit), folder, progress)
        say(f"{run.name}: " + ", ".join(f"{name} {i.value:.4f}" for name, i in list(card.metrics.items())[:3]))
        cards.append(card)
    return cards


def file_name(name: str) -> str:
    """A name as a folder's.

    >>> file_name("dense HSTU, pre-trained")
    'dense-hstu-pre-trained'
    """
    return re.sub(r"[^a-z0-9_]+", "-", name.lower()).strip("-")


def _kept(folder: Path, run: Run) -> ResultCard | None:
    if not (folder / CARD_FILE).exists():
        return None
    card = ResultCard.load(folder)
    return card if card.config == json.loads(json.dumps(to_tree(run))) else None


def _run(store: SequenceStore, run: Run, how: Measure, folder: Path, progress: bool) -> ResultCard:
    training = folder / "training" / file_name(run.name)
    shared = folder / "pre-training" / _first_stage(run) if isinstance(run.model, TwoStageRecommender.Config) else None
    if shared is not None and shared.exists() and not (training / "retrieve").exists():
        shutil.copytree(shared, training / "retrieve")
    recommender = Recommender(run).fit(
        store, keep=Housekeeping(folder=training, resume=training.exists(), progress=progress)
    )
    if shared is not None and not shared.exists():
        shutil.copytree(training / "retrieve", shared)
    assert how.question is not None
    card = recommender.evaluate(how=how)[how.question]
    card.save(folder / "cards" / file_name(run.name))
    return card


def _first_stage(run: Run) -> str:
    """The same for runs whose first stage is the same in every option."""
    parts = (run.model.retriever, run.windows, run.split, run.stages["retrieve"])
    text = json.dumps([*map(to_tree, parts), run.seed])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
