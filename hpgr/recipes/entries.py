"""The systems that recipes compare, under one budget: HPGR, its controls (one switch each), SASRec and counting."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from hpgr.data.negatives import SampledNegatives
from hpgr.data.requests import SampledRequests
from hpgr.data.split_rules import GlobalTime, SplitRule
from hpgr.data.windows import TrainWindows
from hpgr.frames.ranking import FEATURES, RankingRecommender
from hpgr.frames.two_stage import TwoStageRecommender
from hpgr.models.ease import ease
from hpgr.models.hpgr import hpgr, hpgr_paper
from hpgr.models.hstu import hstu_ranker
from hpgr.models.item_knn import item_knn
from hpgr.models.lightgbm import lightgbm
from hpgr.models.markov import markov
from hpgr.models.mtgr import mtgr
from hpgr.models.popularity import popularity, popularity_hour, popularity_recent
from hpgr.models.sasrec import sasrec
from hpgr.models.skip_count import skip_count
from hpgr.training.run import Run
from hpgr.training.settings import StageSettings

COUNTING = {
    "popularity": popularity(),
    "popularity-recent": popularity_recent(),
    "popularity-hour": popularity_hour(),
    "markov": markov(),
    "skip_count": skip_count(),
    "item_knn": item_knn(),
    "ease": ease(),
}


def runs(
    models: dict[str, Any],
    *,
    split: SplitRule,
    max_len: int,
    candidates: Any = None,
    retrieve: StageSettings = StageSettings(epochs=16, lr=3e-3),
    rank: StageSettings = StageSettings(epochs=6, patience=2),
) -> tuple[Run, ...]:
    """A run for each model by name, equal in everything but the model."""
    windows = TrainWindows.Config(max_len=max_len, batch_tokens=2048)
    stages = {"retrieve": retrieve, "rank": rank}
    return tuple(
        Run(name=name, model=model, split=split, windows=windows, candidates=candidates, stages=stages)
        for name, model in models.items()
    )


def among_sampled(max_len: int, sampler: Literal["uniform", "popularity"] = "uniform") -> tuple[Run, ...]:
    """Rankers and counting, asked which of 21 items was chosen, 20 of them sampled, after a border in time."""
    return runs(
        rankers(FEATURES) | COUNTING,
        split=GlobalTime(max_targets_per_user=5),
        max_len=max_len,
        candidates=SampledRequests.Config(
            negatives=SampledNegatives(negatives=20, sampler=sampler), positives_per_user=3, batch_tokens=4096
        ),
        retrieve=StageSettings(epochs=8, lr=3e-3),
        # HSTU and MTGR stand still for some epochs before they learn from histories: nothing stops them, and the best epoch counts.
        rank=StageSettings(epochs=15, limit_batches=80, patience=None),
    )


def retrievers() -> dict[str, Any]:
    """HPGR's first stage, with and without its session part, SASRec, and the counting baselines."""
    first = hpgr().retriever
    return {
        "hpgr (stage 1)": first,
        "hpgr (stage 1, no SEM)": replace(first, trunk=replace(first.trunk, sem=None)),
        "sasrec": sasrec(),
    } | COUNTING


def rankers(features: tuple[str, ...], num_actions: int = 0, chosen: tuple[int, ...] | None = None) -> dict[str, Any]:
    """The two presets, the controls and the systems that a gain must be held against, all with the same cross features.

    The faithful preset has no cross features of its own; here it gets them, so that only attention differs. ``chosen``: codes
    of the actions that SASRec predicts, where a history holds what was not chosen too.
    """
    next_item = replace(sasrec(), num_actions=num_actions)
    ours, paper = with_inputs(hpgr(), features, num_actions), with_inputs(hpgr_paper(), features, num_actions)
    encoder = ours.ranker.encoder
    selection = encoder.selection
    assert selection is not None

    def changed(**options: Any) -> TwoStageRecommender.Config:
        return replace(ours, ranker=replace(ours.ranker, encoder=replace(encoder, **options)))

    return {
        "hpgr": ours,
        "hpgr-paper": paper,
        "dense HSTU, pre-trained": changed(selection=None),
        "dense HSTU, from scratch": changed(selection=None).ranker,
        "last-K, pre-trained": changed(selection=replace(selection, by="last")),
        "no history": changed(selection=None, read_history=False).ranker,
        "hstu-ranker": replace(hstu_ranker(features=features), num_actions=num_actions),
        "mtgr": replace(mtgr(features=features), num_actions=num_actions),
        "lightgbm": replace(lightgbm(), features=features),
        "sasrec": replace(next_item, objective=replace(next_item.objective, actions=chosen)),
    }


def with_inputs(
    config: TwoStageRecommender.Config, features: tuple[str, ...], num_actions: int
) -> TwoStageRecommender.Config:
    """``config`` whose ranker reads these cross features, and both stages the kinds of events."""
    ranker: RankingRecommender.Config = replace(config.ranker, features=features, num_actions=num_actions)
    return replace(config, ranker=ranker, retriever=replace(config.retriever, num_actions=num_actions))
