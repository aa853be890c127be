from __future__ import annotations

import numpy as np
import pytest
import torch

from hpgr.core.batch import Candidates, History
from hpgr.core.errors import ConfigError
from hpgr.data.planted import (
    LIKE,
    Planted,
    PlantedShape,
    batches,
    planted_intensity,
    planted_preferences,
    precision_of_selection,
)

MAKERS = pytest.mark.parametrize("make", [planted_preferences, planted_intensity], ids=lambda make: make.__name__)


@pytest.fixture(scope="module")
def planted() -> Planted:
    return planted_preferences(1500, seed=3)


def matches(planted: Planted) -> np.ndarray:
    """[U, N, L]: the event is of the candidate's category."""
    return planted.item_idx[:, None, :] // 20 == planted.candidate_idx[:, :, None] // 20


def auc(label: np.ndarray, score: np.ndarray) -> float:
    clicked, passed = score[label == 1], score[label == 0]
    values = np.unique(score)
    below = np.searchsorted(np.sort(passed), values), np.searchsorted(np.sort(passed), values, side="right")
    at = np.searchsorted(values, clicked)
    return float((below[0][at] + below[1][at]).mean() / 2 / len(passed))


@MAKERS
def test_the_seed_and_nothing_else_decides(make):
    first, again, other = make(50, 1), make(50, 1), make(50, 2)
    for name in ("item_idx", "action", "time_ms", "candidate_idx", "label", "prob"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert (first.item_idx != other.item_idx).mean() > 0.9


@MAKERS
def test_shapes_and_times_are_those_of_the_card(make):
    data = make(40, 0)
    assert data.num_items == 800
    assert data.item_idx.shape == data.action.shape == data.session.shape == data.time_ms.shape == (40, 128)
    assert data.candidate_idx.shape == data.prob.shape == data.label.shape == (40, 4)
    gaps = np.diff(data.time_ms, axis=1)
    inside = np.diff(data.session, axis=1) == 0
    assert (gaps[inside] == 60_000).all()
    assert (gaps[~inside] > 6 * 3_600_000).all()
    np.testing.assert_array_equal(np.unique(data.session[0], return_counts=True)[1], [8] * 16)
    assert (data.now_ms > data.time_ms[:, -1]).all()


def test_three_quarters_of_a_session_are_of_its_category(planted):
    category = (planted.item_idx // 20).reshape(-1, 16, 8)
    main = np.array([[np.bincount(session).argmax() for session in user] for user in category[:300]])
    # One event in forty of the quarter drawn anywhere lies there too.
    assert abs((category[:300] == main[:, :, None]).mean() - (0.75 + 0.25 / 40)) < 0.01


def test_actions_tell_the_preference_four_times_in_five(planted):
    liked = planted.prob > 0.5
    told = (planted.action[:, None, :] == LIKE) == liked[:, :, None]
    assert abs(told[matches(planted)].mean() - 0.8) < 0.01
    assert abs(liked.mean() - 0.5) < 0.03


def test_an_ideal_ranker_of_preferences_reaches_the_cards_figure(planted):
    assert set(np.unique(planted.prob.round(6))) == {0.1, 0.9}
    assert abs(auc(planted.label, planted.prob) - 0.9) < 0.015
    votes = (matches(planted) * np.where(planted.action == LIKE, 1, -1)[:, None, :]).sum(2)
    assert auc(planted.label, votes) > 0.88
    assert abs(auc(planted.label, (planted.action == LIKE).mean(1)[:, None].repeat(4, axis=1)) - 0.5) < 0.06


def test_intensity_clicks_rise_with_the_number_of_events_and_ignore_actions():
    data = planted_intensity(1500, seed=3)
    count = matches(data).sum(2)
    np.testing.assert_allclose(data.prob, 1 / (1 + np.exp(-(count - 13) / 4)))
    assert abs(auc(data.label, data.prob) - 0.84) < 0.02
    assert data.label[count < 6].mean() < 0.2 < 0.8 < data.label[count > 20].mean()
    likes = (matches(data) * np.where(data.action == LIKE, 1, -1)[:, None, :]).sum(2)
    assert abs(auc(data.label, np.sign(likes)) - 0.5) < 0.03


def test_clicks_are_as_likely_as_said(planted):
    for prob in (0.1, 0.9):
        assert abs(planted.label[np.isclose(planted.prob, prob)].mean() - prob) < 0.02


def test_a_batch_holds_the_users_as_they_are(planted):
    history, candidates = planted.batch(np.array([4, 2]))
    assert isinstance(history, History)
    assert isinstance(candidates, Candidates)
    np.testing.assert_array_equal(history.item_idx.reshape(2, 128), planted.item_idx[[4, 2]])
    np.testing.assert_array_equal(history.session_of_event() % 16, np.tile(planted.session[0], 2))
    assert history.session_offsets.tolist() == list(range(0, 257, 8))
    assert history.user_session_offsets().tolist() == [0, 16, 32]
    assert not history.session_open.any()
    np.testing.assert_array_equal(candidates.label[:, 0].reshape(2, 4), planted.label[[4, 2]])
    np.testing.assert_array_equal(candidates.time_ms, planted.now_ms[[4, 4, 4, 4, 2, 2, 2, 2]])
    assert candidates.features.shape == (8, 0)


def test_batches_hold_every_user_once(planted):
    in_order = torch.cat([history.item_idx for history, _ in batches(planted, 400, None)]).reshape(-1, 128)
    np.testing.assert_array_equal(in_order, planted.item_idx)
    drawn = [history.item_idx.reshape(-1, 128) for history, _ in batches(planted, 400, 5)]
    assert [len(part) for part in drawn] == [400, 400, 400, 300]
    order = torch.cat(drawn)
    assert not torch.equal(order, in_order)
    assert sorted(map(tuple, order.tolist())) == sorted(map(tuple, in_order.tolist()))


def test_precision_counts_selected_rows_only():
    history = History.from_lists([[0, 1, 25], [41, 2]])
    candidates = Candidates.from_lists([[5, 30], [3]], now_ms=history.now_ms)
    rows = torch.tensor([[0, 1, 2], [2, -1, -1], [3, -1, -1]])
    # Rows 0 and 1 match the first candidate, row 2 the second, row 3 nothing.
    assert precision_of_selection(rows, history, candidates, 20) == pytest.approx(3 / 5)


def test_precision_of_all_rows_is_the_cards_random_one(planted):
    history, candidates = planted.batch(np.arange(planted.num_users))
    rows = torch.arange(128) + 128 * candidates.user_of_candidate()[:, None]
    assert 0.105 < precision_of_selection(rows, history, candidates, planted.category_size) < 0.125


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: planted_preferences(0, 1), r"num_users \(0\) must be at least 1"),
        (lambda: next(batches(planted_intensity(2, 1), 0, None)), r"batch_users \(0\) must be at least 1"),
        (lambda: PlantedShape(session_len=0), r"session_len \(0\) must be at least 1"),
        (lambda: PlantedShape(num_categories=7), r"num_categories \(7\) must be at least 8, as many as one user has"),
    ],
)
def test_bad_sizes_are_named(call, message):
    with pytest.raises(ConfigError, match=message):
        call()
