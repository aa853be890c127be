"""Which prior finds what new users choose first: hit rate at 10 on real logs, cut where nine tenths of the events are past.

The bundle of a service stops at the cut; every user who comes later is asked about at the moment of a first event.

    HPGR_DATA=folder python benchmarks/priors.py
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from hpgr import EventLog
from hpgr.core.vocabulary import Vocabulary
from hpgr.data.catalogue import Catalogue
from hpgr.data.item_clock import Listed
from hpgr.serving.prior import Popularity
from hpgr.serving.settings import PRIORS
from hpgr.serving.shelf import Shelf

LOGS = (
    "30music-sample",
    "ebnerd-demo",
    "online-retail",
    "kuairand-pure-slice",
    "ml-100k",
    "amazon-beauty",
    "ml-latest-small",
)
K, LEAST = 10, 50


def hits(log: Path) -> tuple[int, dict[str, float]]:
    """How many new users there are, and each prior's hit rate."""
    events = EventLog.read(log).events().collect().sort("time_ms", maintain_order=True)
    time_ms, user = events["time_ms"].to_numpy(), events["user"].to_numpy()
    items = Vocabulary.of(events["item"])
    item, end_ms = items.rows(events["item"]), int(np.quantile(time_ms, 0.9))
    past = time_ms < end_ms
    counts = np.bincount(item[past], minlength=len(items))
    _, first = np.unique(user, return_index=True)
    asked = first[time_ms[first] >= end_ms]
    seen = np.flatnonzero(counts)
    of_store = np.full(len(items), len(seen))
    of_store[seen] = np.arange(len(seen))
    catalogue = Catalogue(items=Vocabulary(items.at(seen)), of_store=of_store, train_count=counts[seen])
    clock = SimpleNamespace(events=Listed.of_pairs(item[past], time_ms[past], len(items)))
    shelf = Shelf(SimpleNamespace(frame=None, clock=clock, catalogue=catalogue), len(items))  # type: ignore[arg-type]
    found = {}
    for kind in PRIORS:
        prior = Popularity(kind, shelf, clock, catalogue.train_count, end_ms)  # type: ignore[arg-type]
        best = [np.argsort(-prior.log_share(int(time_ms[at]))[:-1], kind="stable")[:K] for at in asked]
        found[kind] = float(np.mean([of_store[item[at]] in top for at, top in zip(asked, best)])) if len(asked) else 0.0
    return len(asked), found


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print(f"| log | new users | {' | '.join(PRIORS)} |\n|---|---|{'---|' * len(PRIORS)}")
    for name in LOGS:
        count, found = hits(Path(os.environ["HPGR_DATA"]) / name / "interactions.parquet")
        if count >= LEAST:
            print(f"| {name} | {count} | {' | '.join(f'{found[kind]:.3f}' for kind in PRIORS)} |", flush=True)


if __name__ == "__main__":
    main()
