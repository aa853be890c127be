"""A model of your own: a counting rule for sessions, registered, fitted and measured beside those that are there."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass

import torch

from hpgr import EventLog, Measure, Recommender, SequenceStore
from hpgr.data.simulator import Simulator
from hpgr.frames.counting import CountingRecommender
from hpgr.frames.registry import MODELS
from hpgr.objectives.links import SkipLinks


@dataclass(frozen=True, kw_only=True, slots=True)
class SameSession:
    """Each event links to the next ``reach`` ones of its own session; the newest ``reach`` events are asked."""

    reach: int = 2

    def links(self, history):
        session, item = history.session_of_event(), history.item_idx
        at = {far: (session[far:] == session[:-far]).nonzero().squeeze(1) for far in range(1, self.reach + 1)}
        pieces = [(item[i], item[i + far], torch.full(i.shape, 1 / far)) for far, i in at.items()]
        return tuple(torch.cat(column) for column in zip(*pieces))

    def recall(self, history):
        return SkipLinks(reach=self.reach).recall(history)


MODELS.register("same_session")(lambda: CountingRecommender.Config(rule=SameSession()))
with tempfile.TemporaryDirectory() as folder:
    Simulator.Config(num_users=300, num_items=300).build().write(path := f"{folder}/log.parquet")
    store = SequenceStore.build(EventLog.read(path), f"{folder}/store")
    for name in ("popularity", "skip_count", "same_session"):
        cards = Recommender(name).fit(store).evaluate(how=Measure(question="retrieve"))
        print(f"{name:<13} NDCG@10 {cards['retrieve'].metrics['NDCG@10'].value:.4f}")
