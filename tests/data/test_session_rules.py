"""Sessions by gap, by id and by day, against borders worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hpgr.core.config import from_tree, to_tree
from hpgr.core.errors import ConfigError
from hpgr.data.sessions import CalendarDay, GivenSessions, IdleGap, SessionRule, session_rule

# Two users around one without events; the second starts right after the first one's last event.
OFFSETS = np.array([0, 4, 4, 6])
TIMES_S = np.array([0, 1800, 3601, 3602, 3603, 3604])


def starts(rule: SessionRule, codes: list[int] | None = None) -> list[int]:
    found = rule.starts(OFFSETS, TIMES_S * 1000, None if codes is None else np.array(codes))
    return np.flatnonzero(found).tolist()


def test_an_idle_gap_ends_a_session_only_when_it_is_longer() -> None:
    assert starts(IdleGap(gap_s=1800)) == [0, 2, 4]
    assert starts(IdleGap(gap_s=1801)) == [0, 4]
    assert starts(IdleGap(gap_s=0.5)) == [0, 1, 2, 3, 4, 5]


def test_a_session_is_cut_after_its_longest_length() -> None:
    assert starts(IdleGap(gap_s=9999, max_events=3)) == [0, 3, 4]
    assert starts(IdleGap(gap_s=1800, max_events=1)) == [0, 1, 2, 3, 4, 5]


def test_given_sessions_change_with_their_id_and_with_the_user() -> None:
    assert starts(GivenSessions(), [5, 5, 8, 5, 5, 5]) == [0, 2, 3, 4]


def test_days_change_at_midnight_of_the_zone() -> None:
    offsets, midnight = np.array([0, 3]), 1_699_920_000_000
    times = np.array([midnight - 1, midnight, midnight + 3_600_000])
    assert CalendarDay().starts(offsets, times, None).tolist() == [True, True, False]
    assert CalendarDay(utc_offset_s=3600).starts(offsets, times, None).tolist() == [True, False, False]
    assert CalendarDay(utc_offset_s=-3600).starts(offsets, times, None).tolist() == [True, False, True]


def test_whether_a_request_continues_the_session() -> None:
    last, now = np.array([0, 0]), np.array([1_800_000, 1_800_001])
    assert IdleGap(gap_s=1800).is_open(last, now).tolist() == [True, False]
    assert GivenSessions(gap_s=1800).is_open(last, now).tolist() == [True, False]
    assert CalendarDay().is_open(np.array([0, 0]), np.array([86_399_999, 86_400_000])).tolist() == [True, False]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("30m", IdleGap(gap_s=1800)),
        ("90", IdleGap(gap_s=90)),
        ("given", GivenSessions()),
        ("day", CalendarDay()),
        ("day-5h", CalendarDay(utc_offset_s=-18000)),
    ],
)
def test_rules_are_read_from_words_and_kept_as_trees(text: str, rule: SessionRule) -> None:
    assert session_rule(text) == rule
    assert from_tree(to_tree(rule)) == rule


def test_no_rule_makes_every_event_a_session() -> None:
    with pytest.raises(ConfigError, match=r"session gap \(0 s\) must be more than 0, .* use 30m, day or given"):
        session_rule("0")
    with pytest.raises(ConfigError, match=r"max_events \(0\) must be at least 1"):
        IdleGap(max_events=0)
    with pytest.raises(ConfigError, match=r"utc_offset_s \(360000\) must lie within 14 hours"):
        session_rule("day+100h")
    with pytest.raises(ConfigError, match=r"duration \(weekly\)"):
        session_rule("weekly")
