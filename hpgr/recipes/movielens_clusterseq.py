"""MovieLens latest, users after a border in time: what clusters of users add to learning from a few events. Maheri et al., 2023.

Most users of the test part are new. The first nine films of each are asked one by one, so that a new user's questions have 0 to
8 events before them: the slices by length of history are the answer for users who are cold.
"""

from __future__ import annotations

from dataclasses import replace

from hpgr.data.split_rules import GlobalTime
from hpgr.data.windows import TrainWindows
from hpgr.models.clusterseq import clusterseq
from hpgr.models.sasrec import sasrec
from hpgr.recipes import RECIPES, Recipe
from hpgr.recipes.entries import COUNTING, runs
from hpgr.training.settings import StageSettings

_SUPPORT = 5


@RECIPES.register("movielens_clusterseq")
def movielens_clusterseq() -> Recipe:
    """ClusterSeq, the same with one start for all users (MetaTL), SASRec, counting."""
    split = GlobalTime(max_targets_per_user=9)
    settings = StageSettings(epochs=40, lr=1e-3, patience=5)
    few = {
        "clusterseq": clusterseq(num_support=_SUPPORT, predict="last"),
        "one start": clusterseq(num_support=_SUPPORT, num_clusters=None, predict="last"),
    }
    tasks = TrainWindows.Config(max_len=_SUPPORT + 1, min_len=3, batch_tokens=1536, sampling="proportional")
    rest = {"sasrec": sasrec()} | COUNTING
    return Recipe(
        summary="film ratings, new users, the first nine films of each",
        source="movielens_latest",
        folder="ml-latest-head",
        question="retrieve",
        exclude_seen=True,
        entries=(
            *(replace(run, windows=tasks) for run in runs(few, split=split, max_len=50, retrieve=settings)),
            *runs(rest, split=split, max_len=50, retrieve=settings),
        ),
    )
