"""The scores that nobody can beat on a simulated log: those of its own causes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from hpgr.core.errors import ConfigError, DataError
from hpgr.data.simulated_catalogue import DAY_MS, START_MS
from hpgr.data.simulated_truth import next_item_ranks
from hpgr.data.simulated_users import SimulatedUsers
from hpgr.data.simulator import Simulator

_USERS_PER_CHUNK = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class OracleScores:
    """Ranking of ``num_exposures``: ``auc`` over all and ``gauc``, its mean over users with both outcomes, by the
    true click probability; ``taste_auc`` by what the taste alone tells of it. Retrieval of ``num_views``:
    ``hit_rate_10`` and ``ndcg_10`` by the true distribution of the next item, with nothing filtered, and the same as
    means over users of each user's mean, as result cards have them."""

    num_exposures: int
    auc: float
    gauc: float
    taste_auc: float
    num_views: int
    hit_rate_10: float
    ndcg_10: float
    user_hit_rate_10: float
    user_ndcg_10: float


def oracle(config: Simulator.Config, *, test_from_ms: int | None = None, max_users: int = 2000) -> OracleScores:
    """What the causes of the log reach on the first ``max_users`` users from ``test_from_ms`` on (its last tenth by
    default).

    Raises: ConfigError if ``max_users`` is below 1; DataError if these users view nothing in that time, or do not
    both click and pass over.
    """
    if max_users < 1:
        raise ConfigError(f"max_users ({max_users}) must be at least 1")
    cut = START_MS + config.days * DAY_MS * 9 // 10 if test_from_ms is None else test_from_ms
    simulator = Simulator(config)
    shown, ranks, viewers = [], [], []
    for users in simulator.chunks(_USERS_PER_CHUNK, max_users=max_users):
        shown.append(_shown(users).filter(pl.col("time_ms") >= cut))
        views = np.flatnonzero(users.event_time_ms >= cut)
        ranks.append(next_item_ranks(config, simulator.catalogue, users, views))
        viewers.append(users.number[users.user_of(views)])
    exposures, rank = pl.concat(shown), np.concatenate(ranks)
    if not len(rank) or exposures["label"].n_unique() < 2:
        raise DataError(
            f"test_from_ms ({cut}) must leave views, clicks and impressions after it; "
            "choose an earlier time or more users"
        )
    hit = rank <= 10
    gain = hit / np.log2(1 + rank)
    retrieved = pl.DataFrame({"user": np.concatenate(viewers), "hit": hit.astype(float), "gain": gain})
    of_user = retrieved.group_by("user", maintain_order=True).mean()
    by_user = exposures.group_by("user", maintain_order=True).agg(_auc("prob").alias("auc"))
    return OracleScores(
        num_exposures=exposures.height,
        auc=exposures.select(_auc("prob")).item(),
        gauc=by_user.select(pl.col("auc").fill_nan(None).mean()).item(),
        taste_auc=exposures.select(_auc("taste_prob")).item(),
        num_views=len(rank),
        hit_rate_10=float(hit.mean()),
        ndcg_10=float(gain.mean()),
        user_hit_rate_10=float(of_user.select(pl.col("hit").mean()).item()),
        user_ndcg_10=float(of_user.select(pl.col("gain").mean()).item()),
    )


def _shown(users: SimulatedUsers) -> pl.DataFrame:
    lists = users.exposures()
    columns = {name: getattr(lists, name) for name in ("time_ms", "prob", "taste_prob", "label")}
    return pl.DataFrame({"user": users.number[users.user_of(lists.event)], **columns})


def _auc(score: str) -> pl.Expr:
    """The chance that a click's score is above an impression's, ties counting half; NaN without both."""
    is_click = pl.col("label") == 1
    clicks = is_click.sum().cast(pl.Float64)
    above = (pl.col(score).rank("average") * is_click).sum() - clicks * (clicks + 1) / 2
    return above / (clicks * (pl.len() - clicks))
