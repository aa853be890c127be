"""Popularity by the clock, counted by hand."""

import pytest
import torch

from hpgr.core.batch import History
from hpgr.core.errors import ConfigError
from hpgr.objectives.clocks import DAY_MS, HOUR_MS, HourOfDay, Recently


def counts(rule, histories, num_items=3):
    counter = rule.counter(num_items)
    for history in histories:
        counter.add(history)
    return counter.counts()


def days(*users: dict[float, int]) -> History:
    """One user for each ``{day: item}``."""
    return History.from_lists(
        [list(user.values()) for user in users], times_ms=[[round(day * DAY_MS) for day in user] for user in users]
    )


@pytest.mark.parametrize("order", [1, -1])
def test_a_window_ends_with_the_newest_event_of_all(order):
    histories = [days({1: 0, 3: 0, 5: 1}, {4.5: 2}), days({3.001: 1, 2: 2}), days({})][::order]
    assert counts(Recently(window_days=2.0), histories).tolist() == [[0, 2, 1]]


@pytest.mark.parametrize("order", [1, -1])
def test_an_event_halves_with_its_age(order):
    histories = [days({1: 0, 3: 0, 5: 1}), days({4: 2, 5: 3})][::order]
    got = counts(Recently(window_days=None, half_life_days=2.0), histories)
    assert got[0].tolist() == pytest.approx([0.25 + 0.5, 1.0, 0.5**0.5])


def test_window_and_half_life_hold_together():
    got = counts(Recently(window_days=3.0, half_life_days=2.0), [days({1: 0, 3: 0, 5: 1})])
    assert got.tolist() == [[0.5, 1.0, 0.0]]


@pytest.mark.parametrize("order", [1, -1])
def test_an_item_outside_the_catalogue_moves_the_end_only(order):
    histories = [days({1: 0, 2: 1}), days({3.5: 3})][::order]
    assert counts(Recently(window_days=2.0), histories).tolist() == [[0, 1, 0]]


def test_nothing_seen_counts_nothing():
    assert counts(Recently(half_life_days=1.0), []).tolist() == [[0, 0, 0]]
    assert counts(HourOfDay(), [days({})]).sum() == 0


def test_hours_by_hand():
    history = days({1 + 3 / 24: 0, 2 + 3.9 / 24: 0, 3: 1, 4 + 23.5 / 24: 2, 5: 3})
    got = counts(HourOfDay(), [history, history])
    assert {(hour, item): got[hour, item].item() for hour, item in got.nonzero().tolist()} == {
        (3, 0): 4.0,
        (0, 1): 2.0,
        (23, 2): 2.0,
    }
    now_ms = torch.tensor([0, HOUR_MS - 1, HOUR_MS, 24 * HOUR_MS - 1])
    assert HourOfDay().row(now_ms).tolist() == [0, 0, 1, 23]
    assert HourOfDay(utc_offset_h=-1.5).row(now_ms).tolist() == [22, 23, 23, 22]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Recently(window_days=0.0), r"window_days \(0.0\) must be greater than 0 or none"),
        (lambda: Recently(half_life_days=-1.0), r"half_life_days \(-1.0\) must be greater than 0 or none"),
        (lambda: Recently(window_days=None), r"window_days \(None\) must be given where half_life_days is None"),
        (lambda: Recently(smoothing=0.0), r"smoothing \(0.0\) must be greater than 0"),
        (lambda: HourOfDay(smoothing=-1.0), r"smoothing \(-1.0\) must be greater than 0"),
        (lambda: HourOfDay(utc_offset_h=15.0), r"utc_offset_h \(15.0\) must lie in \[-12, 14\]"),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
