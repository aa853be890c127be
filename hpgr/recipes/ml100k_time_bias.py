"""MovieLens 100K, leave-one-out: what times tell, and what the order of simultaneous ratings is worth.

Ratings come in bursts and three of four share their second with another of the user. The plain recipe takes the order of the
file, as a stable sort does; ``-permuted-N`` shuffles it inside a second, and the spread between them is no model's doing. HSTU's
time bias reads the moment of the rating to be predicted, which no service knows beforehand.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from hpgr.models.hstu import hstu
from hpgr.models.sasrec import sasrec
from hpgr.recipes import RECIPES, Recipe
from hpgr.recipes.leave_one_out import COUNTS, left_out
from hpgr.training.settings import StageSettings

_LEN = 200


def _recipe(summary: str, view: dict[str, Any]) -> Recipe:
    both = hstu(dim=50, num_heads=1, max_len=_LEN)
    models = {
        "sasrec ce": sasrec(dim=50, num_heads=1),
        "hstu both": both,
        "hstu both, own time": replace(both, encoder=replace(both.encoder, query_time="own")),
        "hstu both, full softmax": hstu(dim=50, num_heads=1, max_len=_LEN, negatives=None),
        "hstu time": hstu(dim=50, num_heads=1, max_len=_LEN, bias="time"),
        "hstu position": hstu(dim=50, num_heads=1, max_len=_LEN, bias="position"),
        "hstu none": hstu(dim=50, num_heads=1, max_len=_LEN, bias=None),
    }
    return Recipe(
        summary=summary,
        source="movielens_100k",
        folder="ml-100k",
        view=view,
        question="retrieve",
        exclude_seen=True,
        entries=(
            *left_out(COUNTS, max_len=_LEN),
            *left_out(models, StageSettings(epochs=100, lr=1e-3, patience=10), max_len=_LEN, batch_tokens=2048),
        ),
    )


@RECIPES.register("ml100k_time_bias")
def ml100k_time_bias() -> Recipe:
    """Simultaneous ratings in the file's order."""
    return _recipe("films, leave-one-out: time and position biases", {"ties": "file"})


for _draw in (1, 2):
    RECIPES.register(f"ml100k_time_bias-permuted-{_draw}")(
        partial(_recipe, f"films, seconds shuffled, draw {_draw}", {"ties": "permuted", "draw": _draw})
    )
