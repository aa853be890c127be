"""The steps of the demo, each what one command does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from hpgr.answering.answerer import Wanted
from hpgr.api.baselines import baselines_of
from hpgr.api.evaluating import Measure
from hpgr.api.recommendations import Recommendations
from hpgr.api.recommender import Recommender
from hpgr.cli.evaluate import save_cards
from hpgr.cli.train import fit_and_save
from hpgr.data.doctor import examine
from hpgr.data.finding import Finding
from hpgr.data.history_rule import HistoryRule
from hpgr.data.log import EventLog
from hpgr.data.simulated_oracle import OracleScores, oracle
from hpgr.data.simulator import Simulator
from hpgr.data.split import split
from hpgr.data.store import SequenceStore
from hpgr.evaluation.card import ResultCard
from hpgr.evaluation.report import write_report
from hpgr.evaluation.table import formatted, groups, number
from hpgr.training.settings import Housekeeping

# Sizes and rates that leave something to learn in a few minutes on two cores.
_LOG = Simulator.Config(num_items=400, days=40, sessions_per_user=8.0, exposures_per_session=1.0)
_CHANGES = (
    "windows.max_len=60",
    "windows.batch_tokens=1024",
    "candidates.batch_tokens=2048",
    "stages.retrieve.lr=0.003",
    "stages.rank.lr=0.002",
    "stages.rank.inherited_lr_ratio=1.0",
)
_EPOCHS = {"retrieve": 8, "rank": 4}
# A metric of the cards and the oracle's name of it.
_METRICS = {
    "retrieve": {"NDCG@10": "user_ndcg_10", "HitRate@10": "user_hit_rate_10"},
    "rank": {"GAUC": "gauc", "AUC": "auc"},
}
_QUESTIONS = {"retrieve": "Which item of all is viewed next?", "rank": "Which of the items shown is clicked?"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """One question's table: a row a model, the oracle's last."""

    title: str
    metrics: tuple[str, ...]
    cards: dict[str, ResultCard]
    best: dict[str, float]

    @property
    def rows(self) -> list[list[str]]:
        """For people: the model and each metric with its interval."""
        rows = [[name, *(formatted(card.metrics[m]) for m in self.metrics)] for name, card in self.cards.items()]
        return [*rows, ["oracle", *(number(self.best[m]) for m in self.metrics)]]

    def tree(self) -> dict[str, dict[str, float]]:
        """Values by model and metric."""
        found = {name: {m: card.metrics[m].value for m in self.metrics} for name, card in self.cards.items()}
        return found | {"oracle": self.best}


def simulated(out: Path, users: int) -> Simulator.Config:
    """Write the log and its items."""
    config = replace(_LOG, num_users=users)
    simulator = config.build()
    simulator.write(out / "log.parquet")
    simulator.items().write_parquet(out / "items.parquet")
    return config


def prepared(out: Path) -> tuple[tuple[Finding, ...], SequenceStore]:
    """What the doctor finds, and the store. History is what users viewed on their own account, as the oracle has it."""
    log, views = EventLog.read(out / "log.parquet"), HistoryRule(events=("view",))
    found = examine(log, history=views)
    return found.all, SequenceStore.build(log, out / "store", items=out / "items.parquet", history=views)


def trained(out: Path, store: SequenceStore, epochs: int | None) -> tuple[Recommender, Recommender]:
    """HPGR, left as a bundle, and SASRec, with the same histories and batches."""
    # On batches this small a second thread gains little, and costs much where the machine is busy.
    torch.set_num_threads(1)
    changes = [*_CHANGES, *(f"stages.{name}.epochs={epochs or count}" for name, count in _EPOCHS.items())]
    recommender = Recommender("hpgr", changes=changes)
    fit_and_save(recommender, store, out / "bundle", out / "bundle.training", resume=False, overwrite=False)
    sasrec = Recommender("sasrec", changes=changes).fit(store, keep=Housekeeping(progress=True))
    return recommender, sasrec


def evaluated(
    out: Path, recommender: Recommender, sasrec: Recommender, store: SequenceStore, config: Simulator.Config
) -> dict[str, Scores]:
    """Cards and report of all models, and their scores by question."""
    how = Measure()
    cards = {"hpgr": recommender.evaluate(how=how), "sasrec": sasrec.evaluate(how=how)}
    cards |= baselines_of(recommender.run, store, how, tuple(cards["hpgr"]))
    every = [card for found in cards.values() for card in found.values()]
    save_cards(cards, out / "cards")
    write_report(every, out / "report.html", title="hpgr demo: a simulated log")
    best = _oracle(recommender, store, config)
    scores = {}
    for group in groups(every):
        question = next(q for q in _METRICS if group.cards[0] is cards["hpgr"].get(q))
        names = _METRICS[question]
        scores[question] = Scores(
            title=f"{_QUESTIONS[question]} {group.title.partition(' · ')[2]}",
            metrics=tuple(names),
            cards=dict(zip(group.labels, group.cards)),
            best={metric: float(getattr(best, attribute)) for metric, attribute in names.items()},
        )
    return scores


def answered(recommender: Recommender, store: SequenceStore) -> Recommendations:
    """Three items for the user of the longest history, explained."""
    user = store.users.at([int(np.argmax(np.diff(store.user_offsets)))])[0]
    return recommender.recommend([user], wanted=Wanted(k=3), explained_events=3)


def _oracle(recommender: Recommender, store: SequenceStore, config: Simulator.Config) -> OracleScores:
    """What the causes of the log reach on the questions that the models were asked."""
    first_test = int(split(store, recommender.run.split).test.now_ms.min())
    return oracle(config, test_from_ms=first_test, max_users=config.num_users)
