from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from hpgr.core.errors import ConfigError, DataError
from hpgr.data.log import EventLog
from hpgr.data.simulated_catalogue import DAY_MS, START_MS
from hpgr.data.simulated_oracle import oracle
from hpgr.data.simulated_truth import next_item_probs
from hpgr.data.simulator import Simulator
from hpgr.data.store import SequenceStore

CONFIG = Simulator.Config(num_users=600, num_items=400, num_categories=10, days=40, seed=5)


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    return CONFIG.build()


@pytest.fixture(scope="module")
def log(simulator) -> pl.DataFrame:
    items = simulator.items().select("item_id", "available_from", category=pl.col("categories").list.first())
    return pl.concat(simulator.frames(with_truth=True)).join(items, on="item_id", maintain_order="left")


@pytest.fixture(scope="module")
def views(log) -> pl.DataFrame:
    return log.filter(pl.col("event") == "view")


@pytest.fixture(scope="module")
def shown(log) -> pl.DataFrame:
    return log.filter(pl.col("label").is_not_null())


def test_columns_and_types(simulator):
    assert next(simulator.frames(20)).schema == {
        "user_id": pl.String,
        "item_id": pl.String,
        "timestamp": pl.Int64,
        "session_id": pl.Int64,
        "event": pl.String,
        "request_id": pl.Int64,
        "label": pl.Int8,
    }
    assert simulator.items().columns == ["item_id", "title", "categories", "text", "available_from"]


@pytest.mark.parametrize("users_per_chunk", [1, 7, 599])
def test_chunks_do_not_change_the_log(users_per_chunk):
    simulator = Simulator(replace(CONFIG, num_users=90))
    whole = pl.concat(simulator.frames(with_truth=True))
    assert pl.concat(simulator.frames(users_per_chunk, with_truth=True)).equals(whole)


def test_more_users_do_not_change_the_first_ones():
    few, many = (pl.concat(Simulator(replace(CONFIG, num_users=n)).frames()) for n in (40, 80))
    assert many.head(few.height).equals(few)


def test_the_seed_decides(simulator, log):
    again = pl.concat(Simulator(CONFIG).frames(with_truth=True))
    assert again.equals(log.select(again.columns))
    other = next(Simulator(replace(CONFIG, seed=6)).frames(50))
    assert not other.equals(next(simulator.frames(50)))


def test_means_are_those_asked_for(views):
    sessions = views.group_by("user_id", "session_id").len()
    per_user = sessions.group_by("user_id").len()["len"]
    assert per_user.len() == CONFIG.num_users
    assert abs(per_user.mean() - CONFIG.sessions_per_user) < 1.5
    assert abs(sessions["len"].mean() - CONFIG.events_per_session) < 0.3
    assert per_user.max() > 4 * per_user.median()


def test_a_session_has_one_main_intent(views):
    counts = views.group_by("session_id", "category").len()
    share = (
        counts.group_by("session_id").agg(pl.col("len").max(), events=pl.col("len").sum()).filter(pl.col("events") > 4)
    )
    # Noise falls into the main category by chance too.
    assert abs(share["len"].sum() / share["events"].sum() - (1 - CONFIG.noise)) < 0.04


def test_an_idle_gap_of_half_an_hour_finds_the_true_sessions(log):
    gaps = log.select(
        gap=pl.col("timestamp").diff().over("user_id"), same=pl.col("session_id").diff().over("user_id") == 0
    ).drop_nulls()
    assert gaps.filter("same")["gap"].max() < 1_800_000 < gaps.filter(~pl.col("same"))["gap"].min()


def test_rows_of_a_user_are_in_order_of_time(log):
    assert log["user_id"].is_sorted()
    assert (log.select(pl.col("timestamp").diff().over("user_id")).drop_nulls()["timestamp"] >= 0).all()
    assert (log["timestamp"] >= START_MS).all()
    assert (log["timestamp"] < START_MS + CONFIG.days * DAY_MS).all()


def test_nothing_is_seen_before_its_release(log, views):
    assert (log["timestamp"] >= log["available_from"]).all()
    released_later = views.filter(pl.col("available_from") > START_MS)
    assert 0.05 < released_later.height / views.height < 0.5


def test_new_items_are_most_popular_while_new(views):
    day = (pl.col("timestamp") - START_MS) // DAY_MS
    released = (pl.col("available_from") - START_MS) // DAY_MS
    share = views.with_columns(day=day, age=day - released, share=1 / pl.len().over(day)).filter(
        released.is_between(1, 15), pl.col("age") < 25
    )
    first, later = (share.filter(pl.col("age").is_between(low, low + 4))["share"].sum() for low in (0, 20))
    assert first > 1.5 * later


def test_a_list_is_one_moment_after_a_view_and_shows_an_item_once(log, shown):
    assert not shown.select("request_id", "item_id").is_duplicated().any()
    assert (
        shown.group_by("request_id")
        .agg(pl.col("timestamp").n_unique(), pl.col("session_id").n_unique())
        .select((pl.col("timestamp") == 1).all() & (pl.col("session_id") == 1).all())
        .item()
    )
    sizes = shown.group_by("request_id").len()["len"]
    assert CONFIG.list_size * 0.8 < sizes.mean() <= sizes.max() <= CONFIG.list_size
    requests = shown["request_id"].n_unique() / log["session_id"].n_unique()
    assert abs(requests - CONFIG.exposures_per_session) < 0.05
    before = log.with_columns(pl.col("event").shift(1).over("session_id").alias("before"))
    assert (
        before.filter(pl.col("request_id").is_first_distinct() & pl.col("label").is_not_null())["before"]
        .is_in(["view"])
        .all()
    )


def test_events_say_what_the_labels_say(log):
    kinds = log.select("event", "label").unique().sort("event").rows()
    assert kinds == [("click", 1), ("impression", 0), ("view", None)]


def test_click_rate_is_reasonable_and_the_truth_is_calibrated(shown):
    assert 0.05 < shown["label"].mean() < 0.4
    deciles = shown.with_columns(decile=(pl.col("truth_prob").rank("ordinal") - 1) * 10 // pl.len()).group_by("decile")
    table = deciles.agg(pl.col("label").mean(), pl.col("truth_prob").mean(), n=pl.len())
    assert table.height == 10
    error = (table["label"] - table["truth_prob"]).abs()
    deviation = (table["truth_prob"] * (1 - table["truth_prob"]) / table["n"]).sqrt()
    assert (error < 4 * deviation).all()
    assert table["truth_prob"].max() > 5 * table["truth_prob"].min()


def test_own_views_before_a_list_raise_the_click_probability_as_documented():
    simulator = Simulator(replace(CONFIG, exposures_per_session=6.0, num_users=100))
    shown = (
        pl.concat(simulator.frames(with_truth=True))
        .with_columns(
            views=(pl.col("event") == "view").cum_sum().over("user_id", "item_id"),
            logit=(pl.col("truth_prob") / (1 - pl.col("truth_prob"))).log(),
        )
        .filter(pl.col("label").is_not_null())
    )
    # One item in one session, shown again after further views: all else is the same.
    pairs = shown.join(shown, on=["user_id", "session_id", "item_id"], suffix="_later")
    pairs = pairs.filter(pl.col("views") < pl.col("views_later"))
    assert pairs.height > 50
    expected = 0.5 * np.log((1 + pairs["views_later"].to_numpy()) / (1 + pairs["views"].to_numpy()))
    np.testing.assert_allclose(pairs["logit_later"] - pairs["logit"], expected, atol=1e-9)


def test_the_true_distribution_of_the_next_item_is_one(simulator):
    users = next(simulator.chunks(30))
    probs = next_item_probs(CONFIG, simulator.catalogue, users, np.arange(users.num_events))
    np.testing.assert_allclose(probs.sum(1), 1)
    assert probs.min() >= 0
    unreleased = simulator.catalogue.release_day > users.session_day[users.event_session][:, None]
    assert probs[unreleased].max() == 0


@pytest.mark.parametrize("first", [True, False], ids=["first views", "later views"])
def test_the_true_distribution_is_the_one_that_views_are_drawn_from(simulator, views, first):
    users = next(simulator.chunks(200))
    starts = np.isin(np.arange(users.num_events), users.event_offsets)
    events = np.flatnonzero(starts == first)
    probs = next_item_probs(CONFIG, simulator.catalogue, users, events)
    ranks = views["truth_rank"].to_numpy()[events]
    for k in (1, 3, 10, 50):
        expected = np.sort(probs, axis=1)[:, -k:].sum(1)
        deviation = np.sqrt((expected * (1 - expected)).sum()) / len(events)
        assert abs((ranks <= k).mean() - expected.mean()) < 3.5 * deviation


def test_ranks_are_those_of_sorting(simulator, views):
    users = next(simulator.chunks(20))
    probs = next_item_probs(CONFIG, simulator.catalogue, users, np.arange(users.num_events))
    for event in range(0, users.num_events, 37):
        own = probs[event, users.event_item[event]]
        rank = 1 + (probs[event] > own).sum() + ((probs[event] == own).sum() - 1) / 2
        assert views["truth_rank"][event] == rank


def test_the_oracle_is_high_above_popularity_and_the_taste_alone(views):
    scores = oracle(CONFIG)
    assert scores.auc > 0.75
    assert scores.auc > scores.taste_auc + 0.05 > 0.6
    assert 0.7 < scores.gauc < 1
    cut = START_MS + 36 * DAY_MS
    test = views.filter(pl.col("timestamp") >= cut)
    assert scores.num_views == test.height
    assert scores.hit_rate_10 == pytest.approx((test["truth_rank"] <= 10).mean())
    of_user = test.group_by("user_id").agg((pl.col("truth_rank") <= 10).mean().alias("hit"))["hit"]
    assert scores.user_hit_rate_10 == pytest.approx(of_user.mean())
    popular = views.filter(pl.col("timestamp") < cut)["item_id"].value_counts().top_k(10, by="count")["item_id"]
    assert scores.hit_rate_10 > 2.5 * test["item_id"].is_in(popular.to_list()).mean()


def test_the_oracle_of_the_test_period_agrees_with_a_library(log):
    cut = START_MS + 20 * DAY_MS
    scores = oracle(CONFIG, test_from_ms=cut)
    test = log.filter(pl.col("label").is_not_null(), pl.col("timestamp") >= cut)
    assert scores.num_exposures == test.height
    assert scores.auc == pytest.approx(roc_auc_score(test["label"], test["truth_prob"]))
    users = [part for part in test.partition_by("user_id") if part["label"].n_unique() == 2]
    expected = np.mean([roc_auc_score(part["label"], part["truth_prob"]) for part in users])
    assert scores.gauc == pytest.approx(expected)


def test_sessions_follow_the_previous_intent(simulator):
    """Follower categories come far more often after their leader than they come at all."""
    users = next(simulator.chunks(CONFIG.num_users))
    later = users.previous_intent >= 0
    follows = simulator.catalogue.followers[users.previous_intent[later], users.intent[later]]
    by_chance = simulator.catalogue.followers[np.roll(users.intent[later], 777), users.intent[later]]
    assert follows.mean() > 1.5 * by_chance.mean()


def test_users_return_to_items_of_earlier_days(views):
    def share_old(views: pl.DataFrame) -> float:
        first, start = (pl.col("timestamp").min().over(*by) for by in (("user_id", "item_id"), ("session_id",)))
        return views.select((first < start - DAY_MS).mean()).item()

    without = pl.concat(Simulator(replace(CONFIG, repeat_prob=0.0)).frames()).filter(pl.col("event") == "view")
    assert share_old(views) > share_old(without) + 0.04


def test_text_tells_the_category(simulator):
    items = simulator.items().with_columns(
        word=pl.col("text").str.split(" ").list.first(), category=pl.col("categories").list.first()
    )
    assert items["item_id"].is_sorted()
    assert items["item_id"].n_unique() == CONFIG.num_items
    assert items.group_by("word").agg(pl.col("category").n_unique())["category"].max() == 1
    assert items["title"].n_unique() == CONFIG.num_items


def test_a_store_counts_a_click_once_and_finds_the_sessions(simulator, log, tmp_path):
    path = tmp_path / "log.parquet"
    simulator.write(path)
    store = SequenceStore.build(EventLog.read(path), tmp_path / "store", items=simulator.items())
    history = log.filter(pl.col("event") != "impression")
    assert store.num_events == history.height
    assert store.actions == ["click", "view"]
    assert store.num_sessions == log["session_id"].n_unique()
    requests = log["request_id"].drop_nulls()
    assert store.exposures is not None
    assert (len(store.exposures.request_user), len(store.exposures.item_idx)) == (requests.n_unique(), len(requests))
    assert store.item_table is not None
    assert store.item_table["categories"].list.len().min() == 1


def test_write_leaves_one_whole_file(simulator, log, tmp_path):
    rows = simulator.write(tmp_path / "log.parquet", users_per_chunk=250)
    written = pl.read_parquet(tmp_path / "log.parquet")
    assert rows == written.height
    assert written.equals(log.select(written.columns))
    assert [path.name for path in tmp_path.iterdir()] == ["log.parquet"]


def test_an_interrupted_write_leaves_nothing(simulator, tmp_path, monkeypatch):
    frames = simulator.frames

    def failing(users_per_chunk, *, with_truth):
        yield next(frames(users_per_chunk, with_truth=with_truth))
        raise KeyboardInterrupt

    monkeypatch.setattr(simulator, "frames", failing)
    with pytest.raises(KeyboardInterrupt):
        simulator.write(tmp_path / "log.parquet", users_per_chunk=50)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "extreme",
    [
        {"num_users": 1, "num_items": 2, "num_categories": 1, "days": 1},
        {"exposures_per_session": 0.0},
        {"noise": 1.0},
        {"noise": 0.0, "repeat_prob": 1.0, "chain_prob": 1.0, "drift": 1.0},
        {"new_item_share": 1.0, "days": 2, "sessions_per_user": 1.0, "events_per_session": 1.0},
        {"sessions_per_user": 500.0, "days": 3, "list_size": 1, "exposures_per_session": 8.0},
    ],
    ids=str,
)
def test_extreme_options_work(extreme):
    config = replace(CONFIG, **({"num_users": 40} | extreme))
    log = pl.concat(Simulator(config).frames(9, with_truth=True))
    assert log["user_id"].n_unique() == config.num_users
    assert (log["timestamp"] < START_MS + config.days * DAY_MS).all()
    assert log.filter(pl.col("event") == "view")["truth_rank"].min() >= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_users": 0}, r"num_users \(0\) must be at least 1"),
        ({"noise": 1.5}, r"noise \(1\.5\) must lie in 0 … 1"),
        ({"drift": float("nan")}, r"drift \(nan\) must lie in 0 … 1"),
        ({"events_per_session": 0.5}, r"events_per_session \(0\.5\) must be at least 1"),
        ({"num_items": 19}, r"num_items \(19\) must be at least twice num_categories \(10\)"),
        ({"stickiness": -1.0}, r"stickiness \(-1\.0\) must not be negative"),
        ({"exposures_per_session": 9.0}, r"exposures_per_session \(9\.0\) must lie in 0 … 8"),
    ],
)
def test_bad_options_are_named(change, message):
    with pytest.raises(ConfigError, match=message):
        replace(CONFIG, **change)


def test_bad_requests_are_named(simulator):
    with pytest.raises(ConfigError, match=r"users_per_chunk \(0\) must be at least 1"):
        next(simulator.frames(0))
    with pytest.raises(ConfigError, match=r"max_users \(0\) must be at least 1"):
        oracle(CONFIG, max_users=0)
    late = START_MS + CONFIG.days * DAY_MS
    with pytest.raises(DataError, match=rf"test_from_ms \({late}\) must leave views, clicks and impressions after it"):
        oracle(CONFIG, test_from_ms=late)
