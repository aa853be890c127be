"""Your own log: from a CSV file to explained recommendations for known, new and anonymous users."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import polars as pl

from hpgr import EventLog, Recommender, SequenceStore, Wanted
from hpgr.data.doctor import examine


def shop(users: int = 200, visits: int = 4) -> pl.DataFrame:
    """A visitor walks along one aisle a visit, mostly the favourite one, from article to article."""
    draw, rows, aisles = random.Random(1), [], ("tea", "bread", "fruit", "paper")
    for user in range(users):
        for visit in range(visits):
            aisle, first = draw.choice((*aisles, *[aisles[user % 4]] * 8)), draw.randrange(8)
            start = 1_700_000_000 + 86_400 * visit + draw.randrange(40_000)
            rows += [(f"u{user}", f"{aisle}-{(first + i) % 8}", start + 60 * i) for i in range(4)]
    return pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")


with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "log.csv"
    shop().write_csv(path)
    for finding in examine(path).all:
        print(f"{finding.level}: {finding.message}")
    store = SequenceStore.build(EventLog.read(path), Path(folder) / "store")
    small = ["windows.max_len=32", "windows.batch_tokens=512", "candidates.batch_tokens=2048"]  # many steps from few events
    model = Recommender("hpgr", changes=[*small, "stages.retrieve.epochs=10", "stages.rank.epochs=4"]).fit(store)
    wanted = Wanted(k=3, exclude_seen=True)
    print(model.recommend(users=["u0", "nobody"], wanted=wanted))
    print(model.recommend(histories={"new": ["tea-1", "tea-2"], "other": ["paper-6", "paper-7"]}, wanted=wanted).table)
    print(model.recommend(histories=[], wanted=wanted).table)
    print(model.recommend(histories=["bread-3", "bread-4"], wanted=wanted, explained_events=2).explanations)
    for name, stage in model.stages.items(): print(name, stage.steps, stage.curve)
