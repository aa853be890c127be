"""Two models tuned by the same number of trials, two seeds each, beside one that counts; or: hpgr study examples/study.py"""

from __future__ import annotations

import tempfile
from pathlib import Path

from hpgr import EventLog, SequenceStore
from hpgr.api.runs import run_for
from hpgr.api.study import DataSet, Study, Tuning
from hpgr.api.studying import Bench, run_study
from hpgr.data.simulator import Simulator
from hpgr.evaluation.card_files import found_cards
from hpgr.evaluation.results_tables import markdown_tables
from hpgr.evaluation.standings import standings

QUICK = ["windows.max_len=20", "stages.retrieve.epochs=3", "model.items.dim=16"]
MODELS = {"one layer": ["model.encoder.num_layers=1"], "two layers": ["model.encoder.num_layers=2"]}


def simulated(path: Path) -> SequenceStore:
    Simulator.Config(num_users=150, num_items=120, num_categories=6).build().write(path.with_suffix(".parquet"))
    return SequenceStore.build(EventLog.read(path.with_suffix(".parquet")), path)


def study() -> Study:
    trained = {name: lambda data, more=more: run_for("sasrec", changes=QUICK + more) for name, more in MODELS.items()}
    rates = {"stages.retrieve.lr": (3e-3, 1e-2, 3e-2)}
    data = {"simulated": DataSet(question="retrieve", build=simulated)}
    tuning = Tuning(trials=2, spaces=dict.fromkeys(trained, rates), sampler="random")
    return Study(data=data, models=trained | {"markov": lambda data: run_for("markov")}, seeds=(1, 2), tuning=tuning)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        run_study(study(), Bench(out=Path(folder), say=print))
        print(markdown_tables(standings(found_cards([Path(folder)]))))
