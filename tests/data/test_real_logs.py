"""Real logs become stores unedited; the numbers are those of their READMEs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hpgr.data.doctor import examine
from hpgr.data.log import EventLog
from hpgr.data.sessions import GivenSessions
from hpgr.data.store import SequenceStore

pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif("HPGR_DATA" not in os.environ, reason="HPGR_DATA does not name the folder of real logs"),
]


def folder(name: str) -> Path:
    return Path(os.environ["HPGR_DATA"]) / name


@pytest.mark.parametrize(
    ("name", "counts", "id_types"),
    [
        ("tiny-retail", {"users": 120, "items": 2015, "events": 9197, "sessions": 660}, ("Int64", "String")),
        ("ml-100k", {"users": 943, "items": 1682, "events": 100_000, "sessions": 2793}, ("Int64", "Int64")),
    ],
)
def test_a_real_log_is_prepared(tmp_path: Path, name: str, counts: dict[str, int], id_types: tuple[str, str]) -> None:
    log, items = folder(name) / "interactions.parquet", folder(name) / "items.parquet"
    assert examine(log).errors == ()
    store = SequenceStore.build(EventLog.read(log), tmp_path / "store", items=items)
    assert counts.items() <= store.manifest["counts"].items()
    assert (str(store.users.ids.dtype), str(store.items.ids.dtype)) == id_types
    assert store.item_table is not None
    assert store.item_table["title"].null_count() < store.num_items


def test_the_sessions_of_the_source_are_kept(tmp_path: Path) -> None:
    log = EventLog.read(folder("tiny-retail") / "interactions.parquet")
    store = SequenceStore.build(log, tmp_path / "store", sessions=GivenSessions(), ties="column:line")
    assert store.num_sessions >= 690
