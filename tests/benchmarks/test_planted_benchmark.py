"""A tiny twin of the planted benchmark, and how it reports."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest

from hpgr.data.planted import PlantedShape
from hpgr.training.settings import StageSettings


@pytest.fixture(scope="module")
def planted() -> ModuleType:
    return import_module("planted")


@pytest.fixture
def bench(planted, tmp_path) -> Any:
    scale = planted.Scale(
        shape=PlantedShape(num_sessions=8, session_len=5, num_categories=10, category_size=4),
        train_users=400,
        validation_users=100,
        test_users=200,
        batch_users=40,
        dim=16,
        retrieve=StageSettings(epochs=10, lr=1e-2, patience=None, precision="32"),
        rank=StageSettings(epochs=8, lr=1e-2, patience=None, precision="32"),
    )
    return planted.Bench(claim=6, seed=0, scale=scale, cache=tmp_path)


def _named(planted: ModuleType, claim: int, name: str) -> Any:
    return next(variant for variant in planted.variants(claim) if variant.name == name)


def test_a_pretrained_selection_finds_the_right_category_and_the_clicks(planted, bench):
    found = bench.result(_named(planted, 6, "PGSA + SEM + MIM"))
    blind = bench.result(_named(planted, 6, "no history + SEM + MIM"))
    # An eighth of a history is of a candidate's category.
    assert found["precision_at_start"] > 0.4
    assert found["auc"] > blind["auc"] + 0.1
    assert len(list(bench.cache.glob("*retriever*.safetensors"))) == 1, "both rows share one first stage"
    assert found["first_stage"] == blind["first_stage"]
    assert found["best_epoch"] == 1 + max(range(8), key=found["curve"].__getitem__)


def test_a_kept_result_is_taken_and_another_setting_is_another_job(planted, bench):
    variant = planted.Variant(name="dense, from scratch", sem=False, pretrained=False)
    bench = replace(bench, scale=replace(bench.scale, train_users=40, rank=StageSettings(epochs=1, patience=None)))
    first = bench.result(variant)
    assert first["first_stage"] == {}
    assert first["precision"] is None
    (kept,) = bench.cache.glob("*.json")
    kept.write_text(json.dumps(first | {"auc": 0.123}))
    assert bench.result(variant)["auc"] == 0.123
    other = replace(bench, scale=replace(bench.scale, rank=StageSettings(epochs=1, lr=2e-3, patience=None)))
    assert other.result(variant)["auc"] != 0.123
    assert len(list(bench.cache.glob("*.json"))) == 2


@pytest.mark.parametrize(("claim", "count"), [(6, 12), (7, 4)])
def test_every_row_is_another_model(planted, claim, count):
    rows = planted.variants(claim)
    assert len(rows) == len({row.name for row in rows}) == count
    assert len({str(row.config(planted.Scale())) + str((row.pretrained, row.patient)) for row in rows}) == count


def test_rows_hold_what_their_names_say(planted):
    configs = {row.name: row.config(planted.Scale()) for row in planted.variants(6)}
    assert configs["PGSA + MIM"].ranker.trunk.sem is None
    assert configs["PGSA + MIM"].inherit == ("items=items",)
    assert configs["PGSA + SEM + MIM"].inherit == ("items=items", "trunk.sem=trunk.sem")
    assert configs["PGSA + SEM + MIM"].ranker.encoder.gate == "multiplicative"
    assert configs["PGSA + SEM + MIM, masked after fusion"].retriever.mask_at == "fusion"
    assert configs["last 8 + SEM + MIM"].ranker.encoder.selection.by == "last"
    assert configs["dense + SEM + MIM"].ranker.encoder.selection is None
    assert not configs["no history + SEM + MIM"].ranker.encoder.read_history
    assert [row.selection.k for row in planted.variants(7)[1:]] == [2, 8, 32]


def _result(seed: int, auc: float, first: dict[str, float], precision: float | None = None) -> dict[str, Any]:
    return {
        "seed": seed,
        "auc": auc,
        "best_epoch": 2 + seed,
        "precision_at_start": precision,
        "precision": precision and precision + 0.1,
        "seconds": 30.0 + seed,
        "first_stage": first,
    }


def test_the_table_compares_with_the_twin_and_with_the_best_control(planted):
    sem = {"loss": 5.0, "sem_branch_ratio": 0.5, "seconds": 40.0}
    found = {
        "dense, from scratch": [_result(0, 0.60, {}), _result(1, 0.62, {})],
        "dense + SEM + MIM": [_result(0, 0.55, sem), _result(1, 0.57, sem)],
        "PGSA + SEM + MIM": [_result(0, 0.70, sem, 0.5), _result(1, 0.80, sem, 0.7)],
    }
    text = planted.Table(6, found, [0.9, 0.9]).markdown()
    assert "| oracle | **0.900** | 0.900 | 0.900 |" in text
    assert "| PGSA + SEM + MIM | **0.750** | 0.700 | 0.800 | 0.60 → 0.70 | 2, 3 | 30 |" in text
    assert "- PGSA + SEM + MIM minus dense + SEM + MIM: **+0.190** (+0.150, +0.230)" in text
    assert "- PGSA + SEM + MIM minus dense, from scratch: **+0.140** (+0.100, +0.180)" in text
    assert text.count("| 5.000 | 0.50 | 40 |") == 1, "a shared first stage stands once"


def test_the_page_keeps_its_prose(planted):
    page = "before\n<!-- measured -->\nold\n<!-- end of measured -->\nafter\n"
    assert planted.with_measured(page, "new") == page.replace("\nold\n", "\n\nnew\n\n")
    with pytest.raises(ValueError, match="page must hold the marks <!-- measured --> and <!-- end of measured -->"):
        planted.with_measured("before\nafter\n", "new")
