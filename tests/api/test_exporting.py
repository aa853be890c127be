"""What is exported answers as the model does, and what cannot be is refused and leaves nothing."""

from __future__ import annotations

import json
import re

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from hpgr.answering.answerer import Wanted
from hpgr.api import export_programs, exporting
from hpgr.api.exporting import ExportSettings
from hpgr.api.recommender import Recommender
from hpgr.core.errors import ConfigError, DataError, UnknownNameError, UnsupportedError
from hpgr.data.log import EventLog
from hpgr.data.simulator import Simulator
from hpgr.data.store import SequenceStore
from hpgr.frames.registry import MODELS as REGISTRY

FAST = ("windows.max_len=12",)
MODELS = ["sasrec", "hstu", "gru4rec", "bert4rec", "sessionrec", "hpgr", "hstu-ranker", "mtgr"]
# Made of layers that those have too, or of one more: as ONNX they are tested where time allows.
ALSO = ["cape", "cape-hstu", "mqsa_ted", "icsrec", "sessionrec-hstu"]
REFUSED = [
    *("sigma", "sigma-forward", "rearec", "rearec-ensemble", "comirec", "comirec-dr", "pisa", "clusterseq"),
    *("ada_retrieval", "cape-din"),
]
STAGES: dict[str, tuple[str, ...]] = {
    "hpgr": ("retrieve", "rank"),
    "ada_retrieval": ("retrieve", "rounds"),
    **dict.fromkeys(("hstu-ranker", "mtgr", "cape-din"), ("rank",)),
    **dict.fromkeys(("popularity", "ease"), ()),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    simulator = Simulator(Simulator.Config(num_users=60, num_items=80, num_categories=6, days=20, seed=3))
    log = EventLog.read(pl.concat(list(simulator.frames())))
    return SequenceStore.build(log, tmp_path_factory.mktemp("export") / "store", items=simulator.items(), ties="set")


@pytest.fixture(scope="module")
def recommenders(store):
    made = {}

    def of(name):
        if name not in made:
            changes = [f"stages.{stage}.epochs=1" for stage in STAGES.get(name, ("retrieve",))]
            changes += ["model.auxiliary.bank.num_prototypes=4"] if name == "icsrec" else []
            made[name] = Recommender(name, changes=[*FAST, *changes]).fit(store)
        return made[name]

    return of


@pytest.mark.parametrize(
    ("name", "to"),
    [
        *[(name, "torch") for name in (*MODELS, *ALSO)],
        *[(name, "onnx") for name in MODELS if name != "hpgr"],
        *[pytest.param(name, "onnx", marks=pytest.mark.slow) for name in ("hpgr", *ALSO)],
    ],
)
def test_files_answer_as_the_model(recommenders, store, name, to, tmp_path):
    made = recommenders(name)
    found = made.export(tmp_path / "out", ExportSettings(to=to, num_candidates=20, num_histories=12))
    assert found == json.loads((tmp_path / "out" / "signature.json").read_text())
    assert list(found["parts"]) == {"hpgr": ["encoder", "ranker"], "hstu-ranker": ["ranker"], "mtgr": ["ranker"]}.get(
        name, ["encoder"]
    )
    for part in found["parts"].values():
        assert part["checked"]["histories"] == 12
        assert part["checked"]["largest_difference"] <= 1e-4
        assert (tmp_path / "out" / part["file"]).stat().st_size > 1000
        assert part["file"] in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("to", ["torch", "onnx"])
def test_a_file_alone_recommends_what_the_bundle_does(recommenders, store, to, tmp_path):
    """With nothing but the folder and what signature.json says, padded with rubbish."""
    made = recommenders("hpgr")
    found = made.export(tmp_path / "out", ExportSettings(to=to, parts=("encoder",)))
    items, ids = load_file(tmp_path / "out" / "items.safetensors"), pl.read_parquet(tmp_path / "out" / "items.parquet")
    user = store.users.at(np.array([7])).to_list()
    (want,) = (made.recommend(user, wanted=Wanted(by="retrieve")).table["item_id"].to_list(),)
    events = pl.DataFrame(
        {"item": store.items.at(np.asarray(store.item_idx)[store.user_offsets[7] : store.user_offsets[8]])}
    )
    row_of = {item: row for row, item in enumerate(ids.to_series())}
    slots = found["num_events"]
    newest = np.arange(store.user_offsets[8] - min(len(events), slots), store.user_offsets[8])
    borders = set(np.asarray(store.session_offsets).tolist())
    now = int(np.max(store.time_ms)) + 1

    def filled(values, rubbish, dtype):
        return np.array([*values, *[rubbish] * (slots - len(newest))], dtype=dtype)

    known = store.items.at(np.asarray(store.item_idx)[newest]).to_list()
    given = [
        filled([row_of.get(item, found["num_items"]) for item in known], 3, np.int64),
        filled(np.asarray(store.time_ms)[newest], 17, np.int64),
        filled(np.asarray(store.action)[newest], 1, np.int64),
        filled([i == 0 or at in borders for i, at in enumerate(newest)], True, np.bool_),
        np.array(len(newest), dtype=np.int64),
        np.array(now, dtype=np.int64),
        np.array(bool(store.session_rule.is_open(np.asarray(store.time_ms)[newest[-1:]], np.array([now]))[0])),
    ]
    if to == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(tmp_path / "out" / "encoder.onnx")
        names = [one["name"] for one in found["parts"]["encoder"]["inputs"]]
        vector = torch.from_numpy(session.run(None, dict(zip(names, given)))[0])
    else:
        vector = torch.export.load(tmp_path / "out" / "encoder.pt2").module()(*map(torch.from_numpy, given))
    score = items["vectors"] @ vector + items["bias"]
    assert ids.to_series()[score.topk(10).indices.tolist()].to_list() == want


@pytest.mark.parametrize("name", ["popularity", "ease"])
def test_what_counts_is_refused(store, name, tmp_path):
    made = Recommender(name, changes=FAST).fit(store)
    with pytest.raises(UnsupportedError, match="must be a network to be exported"):
        made.export(tmp_path / "out", ExportSettings(to="torch"))
    assert list(tmp_path.iterdir()) == []


def test_every_registered_network_is_exported_or_refused_here():
    """One of those whose layers differ in numbers alone stands for the others."""
    assert (len(MODELS), len(ALSO), len(REFUSED)) == (8, 5, 10)
    networks = {name for name in REGISTRY.names() if REGISTRY[name]().build(num_items=4).stages()}
    assert networks - {*MODELS, *ALSO, *REFUSED} == {
        *("din", "esasrec", "gru4rec-bprmax", "gsasrec", "hpgr-live", "hpgr-paper", "hstu-large")
    }


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_traced_is_refused_with_the_reason(recommenders, name, tmp_path):
    with pytest.raises(UnsupportedError) as refused:
        recommenders(name).export(tmp_path / "out", ExportSettings(to="torch", num_candidates=20))
    left = " cannot be exported, its bundle can be served by hpgr serve; nothing was left"
    reasons = {
        "ada_retrieval": r"frame \(MultiRoundRecommender\) must make a query vector of a user or log-odds of candidates to be "
        "exported; export another model",
        "sigma": r"encoder of sigma \(.*no implementation of fixed shapes\)" + left,
    }
    any_reason = rf"(encoder|ranker) of {name} \(whose computation depends on more than shapes: .+\)" + left
    assert re.fullmatch(reasons.get(name, any_reason), str(refused.value)), refused.value
    assert list(tmp_path.iterdir()) == []


def test_files_that_answer_otherwise_are_refused(recommenders, tmp_path, monkeypatch):
    def wrong(*asked):
        run = save(*asked)
        return lambda tensors: run(tensors) + 1e-2

    save = exporting.written
    monkeypatch.setattr(exporting, "written", wrong)
    with pytest.raises(
        UnsupportedError, match=r"scores of the file differ by up to .* must agree with the model within"
    ):
        recommenders("sasrec").export(tmp_path / "out", ExportSettings(to="torch"))
    assert list(tmp_path.iterdir()) == []


def test_wrong_wishes_get_one_sentence(recommenders, tmp_path, monkeypatch):
    made = recommenders("sasrec")
    with pytest.raises(UnknownNameError, match="no form of export is named"):
        ExportSettings(to="tflite")
    with pytest.raises(ConfigError, match=r"num_candidates \(0\) must be at least 1"):
        ExportSettings(num_candidates=0)
    with pytest.raises(UnsupportedError, match=r"parts \(ranker\) must be among those of sasrec: encoder"):
        made.export(tmp_path / "out", ExportSettings(parts=("ranker",)))
    with pytest.raises(ConfigError, match=r"num_events \(13\) must not exceed the 12"):
        made.export(tmp_path / "out", ExportSettings(to="torch", num_events=13))
    (tmp_path / "there").mkdir()
    with pytest.raises(DataError, match="must be a new path"):
        made.export(tmp_path / "there", ExportSettings(to="torch"))
    monkeypatch.setattr(export_programs.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedError, match=r"pip install 'hpgr\[export\]'"):
        made.export(tmp_path / "out", ExportSettings(to="onnx"))
