"""KuaiRand-Pure, standard policy: does a candidate's attention to the history gain by places, and by which?

DIN with the same cross features, without places, with a table of them from the newest event, with the two ways to count what
came between (CAPE and CoPE), and HSTU's dense ranker with and without.
"""

from __future__ import annotations

from dataclasses import replace

from hpgr.data.requests import ExposedRequests
from hpgr.data.split_rules import GlobalTime
from hpgr.encoders.session import SessionTrunk
from hpgr.frames.ranking import FEATURES, RankingRecommender
from hpgr.models.cape import cape_din
from hpgr.models.din import din
from hpgr.models.hstu import hstu_ranker
from hpgr.models.popularity import popularity
from hpgr.nn.contextual_position import ContextualPosition
from hpgr.nn.position import TimeAwarePosition
from hpgr.recipes import RECIPES, Recipe
from hpgr.recipes.entries import runs
from hpgr.training.settings import StageSettings

_LEN = 50
_SHOWN = (*FEATURES, "shown_day", "click_rate_day", "category_match")


def _models() -> dict[str, RankingRecommender.Config]:
    table = SessionTrunk.Config(position=TimeAwarePosition.Config(num_time_buckets=None))
    bare, places = din(features=_SHOWN), cape_din(features=_SHOWN, max_len=_LEN)
    dense = hstu_ranker(features=_SHOWN)
    context = ContextualPosition.Config(num_positions=_LEN)
    similar = replace(places.encoder.attention, context=replace(context, counts="similar"))
    layer = replace(dense.encoder.layer, context=context)
    return {
        "din": bare,
        "din, table of places": replace(bare, trunk=table),
        "cape-din": places,
        "cape-din, counts similar": replace(places, encoder=replace(places.encoder, attention=similar)),
        "hstu-ranker": dense,
        "hstu-ranker, contextual": replace(dense, encoder=replace(dense.encoder, layer=layer)),
    }


@RECIPES.register("kuairand_cape")
def kuairand_cape() -> Recipe:
    """Click prediction with short histories that hold clicked and unclicked exposures."""
    models = {name: replace(model, num_actions=2) for name, model in _models().items()}
    return Recipe(
        summary="short-video exposures, global time, click ranking: places found from attention",
        source="kuairand_pure",
        folder="kuairand-pure-slice",
        question="rank",
        limit=10000,
        entries=runs(
            {**models, "popularity": popularity()},
            split=GlobalTime(valid_share=0.15, test_share=0.25),
            max_len=_LEN,
            candidates=ExposedRequests.Config(batch_tokens=4096),
            rank=StageSettings(epochs=4, limit_batches=200, metric="AUC"),
        ),
    )
