import dataclasses
import json
import math
import subprocess
import sys
from datetime import datetime

import numpy as np
import polars as pl
import pytest

from hpgr.core.errors import ConfigError, DataError, UnsupportedError
from hpgr.evaluation.calibration import calibration
from hpgr.evaluation.card import CertificateFacts, Protocol, ResultCard
from hpgr.evaluation.comparison import compare
from hpgr.evaluation.intervals import Bootstrap, Interval
from hpgr.evaluation.provenance import commit, forget_peak_memory, hardware, peak_memory_bytes
from hpgr.evaluation.slices import Slice


def card(model="sasrec", *, certificate="a" * 64, shift=0.0, **changes):
    rng = np.random.default_rng(0)
    values = pl.DataFrame({"user_id": ["u1", "u2", "u3"], "num_queries": [1, 2, 1], "NDCG@10": rng.random(3) + shift})
    made = ResultCard(
        model=model,
        config={"part": "hpgr.x:Config", "dim": 64, "betas": [0.9, 0.98]},
        certificate=CertificateFacts(hash=certificate, facts={"queries": 4, "ties_share": 0.25}),
        protocol=Protocol(candidates="full catalogue", seen="kept", targets="last"),
        data={"name": "tiny-retail", "events": 12345},
        metrics={"NDCG@10": Interval(value=0.5, low=0.4, high=0.6, num_users=3), "coverage@10": Interval(value=0.75)},
        seeds=(1, 2),
        slices=(
            Slice(kind="history length", name="0", num_users=1, num_queries=1, metrics={"x": Interval(value=0.1)}),
        ),
        calibration=calibration(np.array([0.1, 0.4]), np.array([0, 1]), num_bins=2),
        learning_curves={"retrieve": [{"epoch": 0, "loss": 2.5}]},
        monitors={"sem_share": 0.5},
        wall_time_s={"training": 1.5},
        num_parameters=1000,
        peak_memory_bytes=2**20,
        per_user=values,
    )
    return dataclasses.replace(made, **changes)


def test_saved_is_loaded(tmp_path):
    before = card()
    before.save(tmp_path)
    after = ResultCard.load(tmp_path)
    assert after == before
    assert after.per_user.equals(before.per_user)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["card.json", "per_user.parquet"]
    text = json.loads((tmp_path / "card.json").read_text())
    assert text["schema"] == 1
    assert text["metrics"]["NDCG@10"] == {"value": 0.5, "low": 0.4, "high": 0.6, "num_users": 3}
    card(per_user=None, calibration=None).save(tmp_path / "deep" / "er")
    assert ResultCard.load(tmp_path / "deep" / "er").per_user is None


def test_metrics_of_sampled_candidates_carry_the_sampler(tmp_path):
    sampled = Protocol(candidates="sampled[uniform 20], 63 candidates", seen="kept", targets="last")
    metrics = {"AUC": Interval(value=0.7), "NDCG@10": Interval(value=0.5), "log loss": Interval(value=0.2)}
    made = card(protocol=sampled, metrics=metrics)
    assert list(made.metrics) == ["AUC[u20]", "NDCG@10[u20]", "log loss[u20]"]
    assert [list(part.metrics) for part in made.slices] == [["x[u20]"]]
    assert made.per_user.columns == ["user_id", "num_queries", "NDCG@10[u20]"]
    assert made.metrics["AUC"] == made.metrics["AUC[u20]"] == Interval(value=0.7)
    with pytest.raises(KeyError, match="GAUC"):
        made.metrics["GAUC"]
    assert (made.question, card().question) == ("rank", "retrieve")
    made.save(tmp_path)
    # A file of before names carried the sampler.
    path = tmp_path / "card.json"
    path.write_text(path.read_text().replace("[u20]", ""))
    old = ResultCard.load(tmp_path)
    assert old == made == dataclasses.replace(made)
    assert old.per_user.equals(made.per_user)
    (found,) = compare(old, made, metrics=["NDCG@10"], how=Bootstrap(num_samples=50))
    assert (found.metric, found.interval.value) == ("NDCG@10[u20]", 0.0)


def test_numbers_that_are_not_finite_make_valid_json(tmp_path):
    broken = card(
        metrics={"x": Interval(value=math.nan)},
        learning_curves={"rank": [{"step": np.int64(3), "loss": np.float32("inf")}]},
        calibration=calibration(np.array([0.5]), np.array([0])),
    )
    broken.save(tmp_path)
    found = ResultCard.load(tmp_path)
    assert found.learning_curves == {"rank": [{"step": 3, "loss": None}]}
    assert math.isnan(found.metrics["x"].value)
    assert math.isnan(found.calibration.ratio)


def test_a_failed_write_leaves_the_old_card(tmp_path, monkeypatch):
    card().save(tmp_path)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        card("other").save(tmp_path)
    assert ResultCard.load(tmp_path).model == "sasrec"
    assert len(list(tmp_path.iterdir())) == 2


def test_damage_and_other_versions_are_refused(tmp_path):
    card().save(tmp_path)
    path = tmp_path / "card.json"
    good = json.loads(path.read_text())
    path.write_text(json.dumps(good | {"schema": 99}))
    with pytest.raises(UnsupportedError, match=r"schema of .*card.json \(99\) must be 1; evaluate again"):
        ResultCard.load(tmp_path)
    path.write_text("{")
    with pytest.raises(DataError, match=r"card.json must be a result card in JSON"):
        ResultCard.load(tmp_path)
    path.write_text(json.dumps({k: v for k, v in good.items() if k != "metrics"}))
    with pytest.raises(DataError, match=r"card.json must hold every field of a result card and no other \('metrics'\)"):
        ResultCard.load(tmp_path)
    path.write_text(json.dumps(good))
    (tmp_path / "per_user.parquet").write_bytes(b"flipped")
    with pytest.raises(
        DataError, match=r"per_user.parquet must hold the values of single users that its card.json names"
    ):
        ResultCard.load(tmp_path)
    with pytest.raises(ConfigError, match="certificate hash"):
        CertificateFacts(hash="")


def test_unlike_certificates_and_protocols_refuse_to_be_compared():
    found = compare(card(), card("hpgr", shift=0.25), how=Bootstrap(num_samples=50))
    assert [(d.metric, round(d.interval.value, 6)) for d in found] == [("NDCG@10", 0.25)]
    with pytest.raises(
        DataError, match=r"certificate of hpgr \(b+\) must be that of sasrec \(a+\); evaluate both on one"
    ):
        compare(card(), card("hpgr", certificate="b" * 64))
    other = Protocol(candidates="full catalogue", seen="excluded", targets="last")
    with pytest.raises(DataError, match=r"protocol of hpgr .*seen='excluded'.* must be that of sasrec"):
        compare(card(), card("hpgr", protocol=other))
    with pytest.raises(DataError, match=r"card of hpgr \(no values of single users\) must have them"):
        compare(card(), card("hpgr", per_user=None))


def test_a_card_says_where_it_comes_from():
    found = card()
    assert found.hardware["cpu_count"] >= 1
    assert found.hardware["device"] == hardware("cpu")["device"] == "cpu"
    assert {"python", "torch", "polars", "numpy"} <= set(found.versions)
    assert datetime.fromisoformat(found.created).utcoffset().total_seconds() == 0
    assert peak_memory_bytes() > 2**20


def test_the_peak_of_memory_can_begin_anew():
    """In a process of its own: one that keeps freed memory, as the service does, has a peak that no array moves."""
    if not forget_peak_memory():
        pytest.skip("the system does not forget")
    script = """
import numpy as np
from hpgr.evaluation.provenance import forget_peak_memory, peak_memory_bytes
forget_peak_memory()
before = peak_memory_bytes()
held = np.ones(2**23)
assert peak_memory_bytes() > before + 2**25
del held
high = peak_memory_bytes()
assert forget_peak_memory()
assert peak_memory_bytes() < high - 2**25
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_commit_is_that_of_a_checkout_and_of_nothing_around_it(tmp_path):
    def git(*words):
        named = ["git", "-c", "user.name=n", "-c", "user.email=e@example.org", "-C", str(tmp_path), *words]
        return subprocess.run(named, check=True, capture_output=True, text=True).stdout.strip()

    assert commit(tmp_path) is None
    git("init", "-q")
    assert commit(tmp_path) is None
    (tmp_path / "file").write_text("1")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    assert commit(tmp_path) == git("rev-parse", "HEAD")
    (tmp_path / "file").write_text("2")
    assert commit(tmp_path) == git("rev-parse", "HEAD") + "-dirty"
    (tmp_path / "inside").mkdir()
    assert commit(tmp_path / "inside") is None
