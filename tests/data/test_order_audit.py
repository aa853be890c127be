"""How much of the order is order: by hand, on chains and on noise, and on files whose order is known."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from hpgr.core.errors import ConfigError, DataError
from hpgr.data.doctor import examine
from hpgr.data.order_audit import audit_order, audit_store

BEGIN_MS = 1_700_000_000_000


def together(rows: list[list[int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Offsets, items and rising times of users' items."""
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    return offsets, np.concatenate([np.array(row, dtype=np.int64) for row in rows]), np.arange(offsets[-1])


def cycles(num_users: int = 60) -> list[list[int]]:
    return [[(start + i) % 40 for i in range(8)] for start in range(num_users)]


def noise(num_users: int = 100) -> list[list[int]]:
    return np.random.default_rng(0).integers(0, 40, (num_users, 20)).tolist()


def test_rules_by_hand() -> None:
    # 1-2 five times in seven after 1; 1-3 twice; 9-4 four times; 5-1 twice: of these only 1-2 has the support of five.
    rows = [[1, 2]] * 5 + [[5, 1, 3]] * 2 + [[9, 4]] * 4
    found = audit_order(*together(rows), shuffles=1)
    assert (found.given.rules, found.num_users, found.num_pairs) == (1, 11, 13)
    assert audit_order(*together(rows), shuffles=1, support=4).given.rules == 2
    assert audit_order(*together(rows), shuffles=1, support=2).given.rules == 4
    assert audit_order(*together(rows), shuffles=1, support=2, confidence=0.3).given.rules == 3


def test_hits_by_hand() -> None:
    # Of two users, one in each half, each pair is known from the other: 1-2 and 2-3 hit, 3-4 and 3-5 do not.
    assert audit_order(*together([[1, 2, 3, 4], [1, 2, 3, 5]]), shuffles=1).given.hits == 4 / 6
    # Of 20 successors seen once each, ten hit: the chance of each is a half.
    ties = [x for item in range(1, 21) for x in (0, item)]
    assert audit_order(*together([ties, ties]), shuffles=1).given.hits == pytest.approx((20 * 0.5 + 19) / 39)


def test_a_chain_loses_its_order_and_noise_has_none() -> None:
    chain, chance = audit_order(*together(cycles())), audit_order(*together(noise()))
    assert chain.given.hits == 1.0
    assert chain.rules_left < 0.2
    assert chain.hits_left < chance.hits_left
    assert 0.85 < chance.hits_left < 1.15
    assert (chain.weak, chance.weak) == (False, True)


def test_order_among_simultaneous_events_is_told_from_order_in_time() -> None:
    offsets, item, _ = together(cycles())
    once = audit_order(offsets, item, np.repeat(np.arange(60), 8))
    assert once.ties_left < 0.3
    assert once.of_the_file
    rising = audit_order(offsets, item, np.arange(len(item)))
    assert (rising.ties, rising.ties_left, rising.of_the_file) == (rising.given, 1.0, False)


def test_the_draws_are_those_of_the_seed() -> None:
    log = together(noise())
    assert audit_order(*log, seed=3) == audit_order(*log, seed=3) != audit_order(*log, seed=4)
    codes = np.array([f"item {i}" for i in log[1]])
    assert audit_order(log[0], codes, log[2], seed=3).given.rules == audit_order(*log, seed=3).given.rules


def test_a_log_without_pairs_is_refused() -> None:
    with pytest.raises(DataError, match="log must have a user with two events"):
        audit_order(*together([[1], [2]]))
    with pytest.raises(ConfigError, match=r"shuffles \(0\) must be at least 1"):
        audit_order(*together([[1, 2]]), shuffles=0)


def frame(rows: list[list[int]], step_ms: int = 60_000) -> pl.DataFrame:
    offsets, item, _ = together(rows)
    place = np.concatenate([np.arange(n) for n in np.diff(offsets)])
    user = np.repeat(np.arange(len(rows)), np.diff(offsets))
    return pl.DataFrame({"user_id": user, "item_id": item, "timestamp": BEGIN_MS + user * 7_200_000 + place * step_ms})


def test_a_store_is_examined_in_its_own_order(make_store) -> None:  # type: ignore[no-untyped-def]
    rows = cycles()
    assert audit_store(make_store(frame(rows))) == audit_order(*together(rows))
    tied = audit_store(make_store(frame(rows, step_ms=0), ties="set"))
    # Of the store's own order of ties nine in ten successors are hit.
    assert tied.given == tied.ties
    assert tied.given.hits < 0.5


@pytest.mark.parametrize(
    ("log", "ties", "level", "code"),
    [
        (frame(cycles()), "file", "note", "order"),
        (frame(noise()), "file", "risk", "weak_order"),
        (frame(cycles(), step_ms=0), "file", "risk", "file_order"),
        (frame(cycles(), step_ms=0), "set", "risk", "weak_order"),
    ],
)
def test_the_doctor_says_so_when_asked(log: pl.DataFrame, ties: str, level: str, code: str) -> None:
    codes = {"order", "weak_order", "file_order"}
    found = {finding.code: finding for finding in examine(log, time_unit="ms", ties=ties, order=True).all}
    assert (found.keys() & codes, found[code].level) == ({code}, level)
    assert "of the first-order hits" in found[code].message
    assert not examine(log, time_unit="ms", ties=ties).codes() & codes


@pytest.mark.real_data
def test_the_rules_of_the_beauty_file() -> None:
    """603 rules, of which about 24 outlast shuffling (own count on the file of BERT4Rec)."""
    path = Path(os.environ.get("HPGR_DATA", "")) / "published-sequences" / "bert4rec" / "beauty.txt.gz"
    if "HPGR_DATA" not in os.environ or not path.exists():
        pytest.skip("HPGR_DATA must name the folder of the real logs")
    with gzip.open(path) as file:
        user, item = np.loadtxt(file, dtype=np.int64).T
    offsets = np.concatenate([[0], np.cumsum(np.unique(user, return_counts=True)[1])])
    found = audit_order(offsets, item, np.arange(len(item)))
    assert (len(offsets) - 1, found.given.rules) == (40_226, 603)
    assert 15 < found.shuffled.rules < 35
    assert not found.weak
