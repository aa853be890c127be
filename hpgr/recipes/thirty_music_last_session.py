"""30Music sample: every play of each listener's last session among all songs; repeats count."""

from __future__ import annotations

from hpgr.data.split_rules import LastSession
from hpgr.recipes import RECIPES, Recipe
from hpgr.recipes.entries import retrievers, runs


@RECIPES.register("thirty_music_last_session")
def thirty_music_last_session() -> Recipe:
    """Retrieval with native sessions and repeated items."""
    return Recipe(
        summary="music plays, native sessions, last session, retrieval",
        source="thirty_music",
        folder="30music-sample",
        question="retrieve",
        entries=runs(retrievers(), split=LastSession(), max_len=100),
    )
