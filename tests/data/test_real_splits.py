"""Splits and batches of the real logs."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pytest
import torch

from hpgr.data.history import gather_history
from hpgr.data.sessions import GivenSessions
from hpgr.data.split import split
from hpgr.data.split_rules import GlobalTime, LastSession, LeaveOneOut
from hpgr.data.windows import TrainWindows

FOLDER = os.environ.get("HPGR_DATA")
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(FOLDER is None, reason="HPGR_DATA names no folder of real logs"),
]


def real(name: str) -> pl.DataFrame:
    """Its times, whole seconds, in ms."""
    log = pl.read_parquet(Path(str(FOLDER)) / name / "interactions.parquet")
    unit = 1000 if int(log["timestamp"].max()) < 10**11 else 1  # type: ignore[arg-type]
    columns = [name for name in ("user_id", "item_id", "timestamp", "session_id") if name in log.columns]
    return log.select(columns).with_columns(pl.col("timestamp") * unit)


@pytest.mark.parametrize("config", [GlobalTime(), LeaveOneOut(), LastSession()], ids=str)
def test_shuffled_retail_rows_ask_the_same(make_store, config):
    log = real("tiny-retail")
    one, other = (
        split(make_store(frame, ties="set", sessions=GivenSessions()), config).certificate
        for frame in (log, log.sample(fraction=1, shuffle=True, seed=0))
    )
    assert one == other
    assert one.facts["tied_events_share"] > 0.9


def test_milliseconds_survive_to_the_model(make_store):
    log = real("tiny-retail").with_columns(pl.col("timestamp") + 123)
    store = make_store(log, sessions=GivenSessions())
    found = split(store, GlobalTime())
    batches = list(TrainWindows(store, found.train, found.catalogue, TrainWindows.Config(), seed=0))
    got = torch.cat([h.time_ms for h in batches]).sort().values
    border = int(found.validation.now_ms.min())
    assert got.tolist() == log["timestamp"].filter(log["timestamp"] < border).sort().to_list()
    assert (got % 1000 == 123).all()


def test_movielens_leave_one_out(make_store):
    log = real("ml-100k")
    store = make_store(log, ties="set")
    found = split(store, LeaveOneOut())
    facts = found.certificate.facts
    assert facts["queries"] + facts["users_without_target"] == log["user_id"].n_unique() == 943
    assert facts["train_later_than_a_test_event_share"] > 0.5
    assert facts["repeat_target_share"] == 0
    asked = found.test
    history = gather_history(store, found.catalogue, asked.start, asked.stop, asked.now_ms, max_len=10**6)
    assert history.num_events == int((asked.stop - asked.start).sum()) > 50_000
    assert (history.time_ms < history.now_ms[history.user_of_event()]).all()
