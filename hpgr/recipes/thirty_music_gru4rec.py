"""30Music sample, native sessions: GRU4Rec as its article trains it, by its costs, with and without shared samples.

The last session of each listener is asked event by event; plays repeat. The public figures are of logs that nobody may pass on.
"""

from __future__ import annotations

from hpgr.data.session_parallel import SessionParallelWindows
from hpgr.data.split_rules import LastSession
from hpgr.models.gru4rec import gru4rec
from hpgr.recipes import RECIPES, Recipe
from hpgr.recipes.entries import COUNTING
from hpgr.training.run import Run
from hpgr.training.settings import StageSettings

_SETTINGS = StageSettings(optimiser="adagrad", lr=0.1, clip=None, epochs=8, patience=2)


@RECIPES.register("thirty_music_gru4rec")
def thirty_music_gru4rec() -> Recipe:
    """Session-parallel lanes of one event a batch, Adagrad, and the counting baselines."""
    models = {
        "gru4rec softmax": gru4rec(dim=100, num_negatives=512),
        "gru4rec softmax, no shared samples": gru4rec(dim=100, num_negatives=0),
        "gru4rec BPR-max": gru4rec(dim=100, num_negatives=512, loss="bpr-max"),
        "gru4rec TOP1-max": gru4rec(dim=100, num_negatives=512, loss="top1-max"),
        "gru4rec BPR": gru4rec(dim=100, num_negatives=512, loss="bpr"),
        "gru4rec TOP1": gru4rec(dim=100, num_negatives=512, loss="top1"),
    }
    return Recipe(
        summary="music plays, native sessions, GRU4Rec by its costs, retrieval",
        source="thirty_music",
        folder="30music-sample",
        question="retrieve",
        entries=tuple(
            Run(
                name=name,
                model=model,
                split=LastSession(),
                windows=SessionParallelWindows.Config(num_lanes=32, num_steps=1, max_len=100),
                stages={"retrieve": _SETTINGS},
            )
            for name, model in (models | COUNTING).items()
        ),
    )
