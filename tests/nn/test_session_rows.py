"""Which earlier events an event may read."""

import pytest
import torch

from hpgr.core.batch import History
from hpgr.core.errors import ConfigError
from hpgr.nn.session_rows import SessionRows


def listed(rule: SessionRows, history: History, signal: torch.Tensor) -> list[list[int]]:
    rows, gate = rule(signal, history.user_offsets, history.session_offsets)
    assert torch.equal(rows >= 0, gate > 0)
    return [sorted(row for row in line if row >= 0) for line in rows.tolist()]


def two_users() -> History:
    # Sessions: user 0 has [0 1 2] [3 4] [5 6]; user 1 has [7] [8 9].
    return History.from_lists([[0] * 7, [0] * 3], sessions=[[0, 0, 0, 1, 1, 2, 2], [0, 1, 1]])


def test_by_hand():
    signal = torch.tensor([[1.0, 0], [1, 0], [1, 0], [0, 1], [0, 1], [1, 0], [0, 1], [1, 0], [1, 0], [0, 1]])
    rule = SessionRows(own=8, recent=1, sessions=1, per_session=2)
    assert listed(rule, two_users(), signal) == [
        [0],
        [0, 1],
        [0, 1, 2],
        [1, 2, 3],  # its only earlier session: the newest two of it
        [1, 2, 3, 4],
        [1, 2, 5],  # the session that begins alike, not the newer one
        [1, 2, 5, 6],
        [7],
        [7, 8],
        [7, 8, 9],
    ]


def test_recent_events_cross_sessions_but_not_users_and_no_row_comes_twice():
    rule = SessionRows(own=1, recent=4, sessions=2, per_session=3)
    lists = listed(rule, two_users(), torch.ones(10, 3))
    assert lists[6] == [0, 1, 2, 3, 4, 5, 6]
    assert lists[7] == [7]
    assert lists[9] == [7, 8, 9]
    assert all(len(set(line)) == len(line) for line in lists)
    assert all(max(line) == event for event, line in enumerate(lists))


def test_wide_lists_are_dense_causal():
    rule = SessionRows(own=1, recent=7, sessions=0, per_session=1)
    assert listed(rule, two_users(), torch.ones(10, 2))[:7] == [list(range(i + 1)) for i in range(7)]


def test_an_event_is_blind_to_later_ones():
    generator = torch.Generator().manual_seed(0)
    signal = torch.randn(10, 4, generator=generator)
    changed = signal.clone()
    changed[6] += 10
    rule = SessionRows(own=2, recent=1, sessions=1, per_session=1)
    assert listed(rule, two_users(), signal)[:6] == listed(rule, two_users(), changed)[:6]


@pytest.mark.parametrize("name", ["own", "recent", "per_session"])
def test_sizes_must_be_positive(name):
    with pytest.raises(ConfigError, match=rf"{name} \(0\) must be at least 1"):
        SessionRows(**{name: 0})
    with pytest.raises(ConfigError, match=r"sessions \(-1\) must not be negative"):
        SessionRows(sessions=-1)


@pytest.mark.parametrize("size", [1, 2, 16])
def test_blocks_show_every_event_what_its_list_says(size):
    lengths = [37, 0, 1, 50]
    sessions = [torch.randint(6, (n,)).sort().values.tolist() for n in lengths]
    history = History.from_lists([[0] * n for n in lengths], sessions=sessions)
    # Few directions, so that sessions tie.
    signal = torch.eye(3)[torch.randint(3, (88,))]
    rule = SessionRows(own=5, recent=3, sessions=2, per_session=2)
    want = listed(rule, history, signal)
    blocks = rule.blocks(signal, history.user_offsets, history.session_offsets, size=size)
    block = torch.repeat_interleave(torch.arange(len(blocks.rows_PW)), blocks.offsets_P1.diff())
    rows = blocks.rows_PW[block].masked_fill(~blocks.visible_NW, -1)
    assert [sorted(row for row in line if row >= 0) for line in rows.tolist()] == want
    assert blocks.offsets_P1.diff().max() <= size


def test_the_newest_event_alone_has_the_list_that_it_has_in_the_whole():
    signal = torch.eye(3)[torch.randint(3, (40,))]
    rule = SessionRows(own=5, recent=3, sessions=2, per_session=2)
    sessions = torch.randint(9, (40,)).sort().values.tolist()
    for count in range(1, 41):
        history = History.from_lists([[0] * count], sessions=[sessions[:count]])
        rows, gate = rule.newest(signal[:count], history.session_offsets)
        assert torch.equal(rows >= 0, gate > 0)
        assert sorted(row for row in rows[0].tolist() if row >= 0) == listed(rule, history, signal[:count])[-1]
