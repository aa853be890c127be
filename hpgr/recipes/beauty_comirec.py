"""Amazon Beauty as S3-Rec prepared it, leave-one-out: what several vectors a user add to the same encoder. Cen et al., KDD 2020.

The article's own sets (Amazon Books, Taobao, users held out whole) are not at hand; no figure is published for this protocol.
"""

from __future__ import annotations

from dataclasses import replace

from hpgr.models.comirec import comirec, comirec_dr
from hpgr.models.icsrec import icsrec
from hpgr.nn.attended_interests import AttendedInterests
from hpgr.nn.routed_interests import RoutedInterests
from hpgr.recipes import RECIPES, Recipe
from hpgr.recipes.leave_one_out import COUNTS, SHORT_HISTORIES, left_out

_LEN = 50


@RECIPES.register("beauty_comirec")
def beauty_comirec() -> Recipe:
    """ComiRec with four vectors and with one, and the heads over the causal Transformer of ``beauty_icsrec``."""
    settings = replace(SHORT_HISTORIES, clip=None)
    backbone = replace(icsrec(dropout=0.5), auxiliary=None)
    models = {
        "comirec, one vector": comirec(num_interests=1, num_positions=_LEN),
        "comirec": comirec(num_positions=_LEN),
        "backbone": backbone,
        "backbone, one attended": replace(
            backbone, interests=AttendedInterests.Config(num_interests=1, num_positions=_LEN, add_state=True)
        ),
        "backbone, attended": replace(backbone, interests=AttendedInterests.Config(num_positions=_LEN, add_state=True)),
        # One matrix an interest, begun so that a vote is about as long as a state.
        "backbone, routed": replace(backbone, interests=RoutedInterests.Config(num_positions=1, std=0.125)),
    }
    # The routing matrices begin large, and have a rate of their own in the article.
    routed = {
        "comirec-dr, one vector": comirec_dr(num_interests=1, num_positions=_LEN),
        "comirec-dr": comirec_dr(num_positions=_LEN),
    }
    return Recipe(
        summary="reviews of beauty products (five-core), leave-one-out: several vectors a user",
        source="amazon_beauty",
        folder="amazon-beauty",
        question="retrieve",
        exclude_seen=True,
        entries=(
            *left_out(COUNTS, max_len=_LEN),
            *left_out(models, settings, max_len=_LEN),
            *left_out(routed, replace(settings, lr=5e-3), max_len=_LEN),
        ),
    )
