"""Histories grow by one event without disturbing what they hold."""

import torch

from hpgr.core.batch import Candidates, History


def two_users(session_open):
    return History.from_lists(
        [[1, 2, 3], [], [7]], sessions=[[0, 0, 1], [], [0]], now_ms=[9000, 50, 60], session_open=session_open
    )


def test_append_joins_the_open_session_or_opens_one():
    grown = two_users([True, False, False]).append(torch.tensor([10, 11, 12]))
    assert grown.item_idx.tolist() == [1, 2, 3, 10, 11, 7, 12]
    assert grown.time_ms[[3, 4, 6]].tolist() == [9000, 50, 60]
    assert grown.user_offsets.tolist() == [0, 4, 5, 7]
    assert grown.session_offsets.tolist() == [0, 2, 4, 5, 6, 7]


def test_append_keeps_a_session_inside_its_user():
    grown = two_users([False, True, True]).append(torch.tensor([10, 11, 12]))
    assert grown.session_offsets.tolist() == [0, 2, 3, 4, 5, 7]
    assert grown.user_session_offsets().tolist() == [0, 3, 4, 5]


def test_sessions_and_users_of_events():
    history = two_users([False] * 3)
    assert history.user_of_event().tolist() == [0, 0, 0, 2]
    assert history.session_of_event().tolist() == [0, 0, 1, 2]
    assert history.user_session_offsets().tolist() == [0, 2, 2, 3]
    assert history.lengths.tolist() == [3, 0, 1]


def test_moving_keeps_every_column():
    history = two_users([False] * 3).to("cpu")
    candidates = Candidates.from_lists([[1], [2, 3], []], now_ms=history.now_ms, labels=[[1], [0, 1], []]).to("cpu")
    assert candidates.user_of_candidate().tolist() == [0, 1, 1]
    assert candidates.time_ms.tolist() == [9000, 50, 50]
    assert candidates.label is not None
    assert candidates.label[:, 0].tolist() == [1, 0, 1]


def test_keeping_some_events_drops_sessions_that_lose_them_all():
    kept = two_users([False] * 3).keeping(torch.tensor([False, True, False, True]), now_ms=torch.tensor([5, 6, 7]))
    assert kept.item_idx.tolist() == [2, 7]
    assert kept.user_offsets.tolist() == [0, 1, 1, 2]
    assert kept.session_offsets.tolist() == [0, 1, 2]
    assert (kept.now_ms.tolist(), kept.session_open.tolist()) == ([5, 6, 7], [False] * 3)
    none = kept.keeping(torch.zeros(2, dtype=torch.bool))
    assert (none.num_events, none.user_offsets.tolist(), none.session_offsets.tolist()) == (0, [0] * 4, [0])


def test_a_user_whose_only_event_goes_has_no_open_session_wherever_the_user_stands():
    for rows in ([[1], [2], [3, 4]], [[], [1], [2], [3, 4]], [[3, 4], [1]]):
        told = History.from_lists(rows).without_last()
        assert told.session_open.tolist() == [len(row) > 1 for row in rows]
