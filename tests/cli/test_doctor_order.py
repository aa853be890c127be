"""``hpgr doctor --order`` shuffles and says what is left."""

from __future__ import annotations

import polars as pl


def test_the_doctor_examines_the_order_when_asked(run, tmp_path):
    users = [user for user in range(60) for _ in range(8)]
    items = [(user + place) % 40 for user in range(60) for place in range(8)]
    log = pl.DataFrame({"user_id": users, "item_id": items, "timestamp": range(1_700_000_000, 1_700_000_480)})
    log.write_parquet(path := tmp_path / "log.parquet")
    answer = run("doctor", path, "--order")
    assert answer.code == 0, answer.err
    assert "of the first-order hits (100.0% to" in " ".join(answer.out.split())
    assert "first-order" not in run("doctor", path).out
