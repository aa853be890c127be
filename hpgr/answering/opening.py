"""A bundle on disk, ready to be asked; the training code is not needed for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from hpgr.answering.answerer import Answerer
from hpgr.answering.titles import load_titles
from hpgr.core.config import from_tree
from hpgr.core.vocabulary import Vocabulary
from hpgr.data.asked_histories import LogFacts
from hpgr.data.catalogue import Catalogue
from hpgr.data.history_rule import DEFAULT_HISTORY
from hpgr.data.item_clock import ItemClock
from hpgr.data.requests import ExposedRequests
from hpgr.frames.bundle import Bundle, read_bundle

CLOCK = "clock"
"""The folder of the item clock inside a bundle."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """``log``: what histories must share with the log that the model was trained on. ``titles [V_store]``: of the log's items,
    null where one has none; None where the bundle keeps none."""

    bundle: Bundle
    answerer: Answerer
    log: LogFacts
    titles: pl.Series | None = None


def open_bundle(folder: str | Path) -> Opened:
    """What a recommender saved, on the CPU; runs no code from the bundle.

    Raises: DataError or UnsupportedError as ``read_bundle`` and ``ItemClock.load`` do.
    """
    bundle = read_bundle(Path(folder))
    facts, clock = bundle.facts, ItemClock.load(Path(folder) / CLOCK)
    counts = np.array(facts["train_count"], dtype=np.int64)
    answerer = Answerer(
        frame=bundle.frame,
        catalogue=Catalogue.from_ids(bundle.items, clock.items, counts),
        clock=clock,
        max_len=from_tree(facts["run"]["windows"]).max_len,
        learnt_from_shown=isinstance(from_tree(facts["run"]["candidates"]), ExposedRequests.Config),
    )
    titles = load_titles(Path(folder), len(clock.items))
    return Opened(bundle=bundle, answerer=answerer, log=log_facts(facts, clock.items), titles=titles)


def log_facts(facts: dict[str, Any], items: Vocabulary) -> LogFacts:
    """What a bundle's ``facts.json`` says of the log that it was trained on, whose ``items`` its clock knows."""
    return LogFacts(
        items=items,
        rule=from_tree(facts["sessions"]),
        ties=facts["ties"],
        actions=tuple(facts["actions"]),
        end_ms=facts["log_end_ms"],
        history=from_tree(facts["history"]) if "history" in facts else DEFAULT_HISTORY,
        columns=facts.get("columns", {}),
        timed=facts.get("timed", True),
    )
