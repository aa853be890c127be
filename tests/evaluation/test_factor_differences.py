from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from hpgr.evaluation.card import CertificateFacts, Protocol, ResultCard
from hpgr.evaluation.card_files import FoundCard
from hpgr.evaluation.factor_differences import said, variant_differences, write_differences
from hpgr.evaluation.intervals import Interval
from hpgr.evaluation.significance import holm
from hpgr.evaluation.standings import standings


def found(model, tmp_path, *, level, seeds=(1, 2, 3, 4, 5), kept=True, column="NDCG@10", noise=0.0):
    """Cards whose users have NDCG@10 of 0 to 1 around ``level``; ``noise``: of each user in each card."""
    users_U, rng = np.linspace(-0.2, 0.2, 40), np.random.default_rng(len(model))
    for seed in seeds:
        values_U = users_U + level + 0.001 * seed + noise * rng.normal(size=40)
        frame = pl.DataFrame({"user_id": np.arange(40), "num_queries": 1, column: values_U})
        card = ResultCard(
            model=model,
            config={"class": "hpgr.training.run:Run", "name": model, "seed": seed},
            certificate=CertificateFacts(hash="a" * 64),
            protocol=Protocol(candidates="full catalogue", seen="kept", targets="test part"),
            data={"name": "films"},
            metrics={"NDCG@10": Interval(value=float(values_U.mean()), low=0.0, high=1.0, num_users=40)},
            seeds=(seed,),
            per_user=frame if kept else None,
        )
        yield FoundCard(path=tmp_path / f"{model}-{seed}", collection="films", card=card)


def test_each_variant_is_held_against_the_base(tmp_path):
    cards = [
        *found("plain", tmp_path, level=0.4),
        *found("deep", tmp_path, level=0.5),
        *found("single", tmp_path, level=0.6, seeds=(1,)),
        *found("compact", tmp_path, level=0.6, kept=False),
        *found("other users' values", tmp_path, level=0.6, column="novelty"),
    ]
    factors = {
        "Depth": ("plain", "deep", "single", "compact", "other users' values", "never run"),
        "Width": ("wide", "plain"),
    }
    (one,) = variant_differences(standings(cards), factors)
    assert (one.factor, one.base, one.variant, one.seeds) == ("Depth", "plain", "deep", (5, 5))
    (difference,) = one.found
    assert difference.metric == "NDCG@10"
    # Users are paired, so that their spread of .4 does not widen what all of them gain.
    assert difference.interval.value == pytest.approx(0.1)
    assert 0.09 < difference.interval.low < 0.1 < difference.interval.high < 0.11

    write_differences([one], tmp_path / "differences.md")
    assert said(one).startswith("NDCG@10 +0.1000 [+0.09")
    assert said(one).endswith(f"], p {difference.p_holm:.4f} (Holm)")
    _, _, line, _, reading = (tmp_path / "differences.md").read_text().splitlines()
    assert line.startswith(
        "| " + " | ".join([one.table, "Depth", "deep", "plain", "5, 5", "NDCG@10", "+0.1000 [+0.09"])
    )
    # Forty users that all gain the same: no drawn pattern of a thousand gives as much, and seeds spread by .0016 of each model.
    assert line.endswith("] | 0.0010 | 0.0010 | 0.0028 |")
    assert reading.startswith("Interval: over users and seeds together.")


def test_holm_is_over_every_cell_of_the_table(tmp_path):
    names = {"plain": 0.4, "deep": 0.4005, "wide": 0.401, "long": 0.5}
    tables = standings([one for name, level in names.items() for one in found(name, tmp_path, level=level, noise=0.02)])
    told = variant_differences(tables, {"Depth": ("plain", "deep", "wide"), "Length": ("plain", "long")})
    every = [difference for one in told for difference in one.found]
    assert len(every) == 3
    assert [one.p_holm for one in every] == holm([one.p_value for one in every])
    assert every[2].p_holm == 3 * every[2].p_value < 0.01 < every[0].p_holm
