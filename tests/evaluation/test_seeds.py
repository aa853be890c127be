import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import hpgr
from hpgr.core.errors import DataError
from hpgr.evaluation.card import CertificateFacts, Protocol, ResultCard
from hpgr.evaluation.intervals import Bootstrap, Interval, bootstrap_means
from hpgr.evaluation.seeds import difference_over_seeds, over_seeds
from hpgr.evaluation.significance import sign_flip_p


def card(values_U, *, seed=1, model="sasrec", users=None, **more):
    frame = pl.DataFrame(
        {"user_id": np.arange(len(values_U)) if users is None else users, "num_queries": 1, "x": values_U}
    )
    known = frame["x"].drop_nulls()
    return ResultCard(
        model=model,
        config={"class": "hpgr.training.run:Run", "name": f"{model} {seed}", "seed": seed, "dim": 64},
        certificate=CertificateFacts(hash="a" * 64),
        protocol=Protocol(candidates="full catalogue", seen="kept", targets="last"),
        data={},
        metrics={"x": Interval(value=float(known.mean()), low=0.0, high=1.0, num_users=len(known))} | more,
        seeds=(seed,),
        per_user=frame,
    )


def trained(seed_spread, num_seeds, *, num_users=200, shift=0.0, rng=None, people=None):
    """Cards of a model whose users have their own level, and whose seeds have theirs."""
    rng = rng or np.random.default_rng(0)
    people = rng.normal(0, 1, num_users) if people is None else people
    levels = shift + rng.normal(0, seed_spread, num_seeds)
    return [card(people + level + rng.normal(0, 0.3, num_users), seed=s + 1) for s, level in enumerate(levels)]


def test_mean_and_spread_by_hand():
    cards = [
        card([v - 1.0, v + 1.0], seed=s, **{"coverage@10": Interval(value=0.1 * s)})
        for s, v in enumerate([1.0, 2, 3, 4, 5])
    ]
    found = over_seeds(cards)
    assert (found["x"].interval.value, found["x"].values) == (3.0, (1.0, 2.0, 3.0, 4.0, 5.0))
    assert found["x"].spread == pytest.approx(2.5**0.5)
    assert found["x"].text == "3.0000 ± 1.5811 over 5 seeds"
    assert found["coverage@10"].interval == Interval(value=pytest.approx(0.2))


def test_the_nested_interval_holds_both_variances():
    rng = np.random.default_rng(1)
    # Users 1 / 200 and seeds 0.2^2 / 20 together are 0.007, of which one card shows the first only.
    cards = trained(0.2, 20, rng=rng)
    found = over_seeds(cards)["x"].interval
    means = [c.metrics["x"].value for c in cards]
    want = 2 * 1.96 * (cards[0].per_user["x"].var() / 200 + np.var(means, ddof=1) / 20) ** 0.5
    assert found.high - found.low == pytest.approx(want, rel=0.12)
    one = bootstrap_means(cards[0].per_user)["x"]
    assert found.high - found.low > 1.1 * (one.high - one.low)


def test_the_nested_interval_covers_about_as_often_as_it_says():
    rng, names = np.random.default_rng(2), [f"x{i}" for i in range(200)]
    people, levels = rng.normal(0, 1, (100, 200)), rng.normal(0, 0.07, (5, 200))
    cards = []
    for s, level in enumerate(levels):
        values = people + level + rng.normal(0, 0.3, people.shape)
        frame = pl.DataFrame({"user_id": range(100), **dict(zip(names, values.T))})
        metrics = {name: Interval(value=0.0) for name in names}
        cards.append(replace(card([0.0], seed=s), per_user=frame, metrics=metrics))
    found = [summary.interval for summary in over_seeds(cards, Bootstrap(level=0.9)).values()]
    assert 0.84 < np.mean([i.low <= 0 <= i.high for i in found]) < 0.95


def test_a_difference_pairs_users_and_not_seeds():
    rng = np.random.default_rng(3)
    people = rng.normal(0, 1, 300)
    first = trained(0.01, 5, num_users=300, rng=rng, people=people)
    second = [
        replace(c, per_user=c.per_user.reverse())
        for c in trained(0.01, 6, num_users=300, shift=0.1, rng=rng, people=people)
    ]
    (found,) = difference_over_seeds(first, second)
    assert found.interval.low < 0.1 < found.interval.high
    assert found.interval.value == pytest.approx(np.mean(found.second) - np.mean(found.first))
    assert (len(found.first), len(found.second)) == (5, 6)
    # Users alone spread by 1: unpaired, the interval would be six times as wide.
    assert found.interval.high - found.interval.low < 0.08
    (back,) = difference_over_seeds(second, first)
    assert back.interval.value == pytest.approx(-found.interval.value)


def test_p_is_of_the_users_means_over_seeds_and_detectable_of_both():
    rng = np.random.default_rng(6)
    people = rng.normal(0, 1, 300)
    first, second = ([card(people + rng.normal(s, 0.5, 300), seed=i) for i in range(5)] for s in (0.0, 0.1))
    (found,) = difference_over_seeds(first, second)
    means = [np.mean([c.per_user["x"].to_numpy() for c in cards], axis=0) for cards in (first, second)]
    moved = means[1] - means[0]
    assert found.p_value == found.p_holm == sign_flip_p(moved)
    error = moved.var() / 300 + sum(np.var(values, ddof=1) / 5 for values in (found.first, found.second))
    assert found.detectable == pytest.approx(2.8016 * error**0.5, rel=1e-4)


def test_lucky_seeds_do_not_make_a_difference():
    """One seed of each is certain of what two models of unlike seeds are not."""
    people = np.random.default_rng(4).normal(0, 1, 300)
    noise = np.random.default_rng(5).normal(0, 0.1, (10, 300))
    levels = [-0.2, -0.1, 0.0, 0.1, 0.2]
    first = [card(people + level + noise[s], seed=s) for s, level in enumerate(levels)]
    second = [card(people + level + noise[5 + s], seed=s) for s, level in enumerate(levels[::-1])]
    (found,) = difference_over_seeds(first, second)
    assert found.interval.low < -0.1 < 0.1 < found.interval.high
    one = bootstrap_means(pl.DataFrame({"user_id": range(300), "x": second[0].per_user["x"] - first[0].per_user["x"]}))
    assert one["x"].low > 0.35


def test_users_without_a_value_in_any_card_are_left_out():
    cards = [card([1.0, None, 3.0 + s], seed=s) for s in range(5)]
    found = over_seeds(cards)["x"].interval
    assert (found.value, found.num_users) == (3.0, 2)
    hidden = [replace(c, per_user=None) for c in cards]
    assert over_seeds(hidden)["x"].interval.low is None


def test_a_metric_that_no_user_has_has_no_interval_and_stops_no_other():
    lost = pl.lit(None, dtype=pl.Float64).alias("AUC in lists")
    cards = [replace(c, per_user=c.per_user.with_columns(lost)) for c in trained(0.1, 5)]
    assert set(over_seeds(cards)) == {"x"}
    assert [found.metric for found in difference_over_seeds(cards, cards)] == ["x"]


def test_draws_depend_on_the_seed_alone():
    cards = trained(0.1, 5)
    assert over_seeds(cards) == over_seeds(cards)
    assert over_seeds(cards) != over_seeds(cards, Bootstrap(seed=1))
    assert over_seeds(cards)["x"].interval.low == pytest.approx(
        over_seeds(cards, Bootstrap(memory_mb=0.5))["x"].interval.low, abs=0.03
    )


def test_few_seeds_are_warned_of_and_one_is_refused():
    cards = trained(0.1, 4)
    with pytest.warns(UserWarning, match="4 seeds of sasrec say little of the spread over seeds; train at least 5"):
        over_seeds(cards)
    with pytest.raises(DataError, match=r"cards \(1\) must be of at least 2 seeds; train again with another seed"):
        over_seeds(cards[:1])
    with pytest.raises(DataError, match=r"seeds \(.*\) must differ from card to card"):
        over_seeds([cards[0], cards[0]])


def test_what_is_not_one_model_on_one_question_is_refused():
    cards = trained(0.1, 5)
    with pytest.raises(DataError, match="config of sasrec must be that of sasrec but for the seed"):
        over_seeds([*cards[:4], replace(cards[4], config=cards[4].config | {"dim": 32})])
    elsewhere = [replace(c, certificate=CertificateFacts(hash="b" * 64)) for c in cards]
    with pytest.raises(DataError, match="certificate of sasrec"):
        difference_over_seeds(cards, elsewhere)
    with pytest.raises(DataError, match="certificate of sasrec"):
        over_seeds([*cards[:4], elsewhere[4]])
    with pytest.raises(DataError, match=r"users \(200 and 200\) must be the same on both sides"):
        over_seeds([*cards[:4], card(np.zeros(200), seed=5, users=np.arange(1, 201))])
    with pytest.raises(DataError, match="no values of single users"):
        difference_over_seeds(cards, [replace(c, per_user=None) for c in cards])


def test_the_python_of_the_evaluation_page_runs(capsys):
    page = (Path(hpgr.__file__).parents[1] / "docs" / "evaluation.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    known = {name: [as_ndcg(c) for c in trained(0.01, 5, shift=s)] for name, s in (("sasrec", 0.0), ("hpgr", 0.5))}
    names = {f"{name}_cards": cards for name, cards in known.items()}
    names |= {"sasrec": known["sasrec"][0], "markov": known["hpgr"][1], "skip_count": known["hpgr"][2]}
    exec(code, names)
    shown = capsys.readouterr().out
    assert "over 5 seeds" in shown
    assert "NDCG@10: 10,000 users show true differences from" in shown
    assert shown.count("Interval(value=") == 2


def as_ndcg(made):
    return replace(made, metrics={"NDCG@10": made.metrics["x"]}, per_user=made.per_user.rename({"x": "NDCG@10"}))
