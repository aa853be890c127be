"""Exact counts of hidden events, the newest one alone, and how much of a history a request reads."""

import pytest
import torch

from hpgr.core.batch import History
from hpgr.core.errors import ConfigError
from hpgr.core.seeds import torch_generator
from hpgr.objectives.masked_item import MaskedItem
from hpgr.objectives.newest_events import newest_events

LENGTHS = [0, 1, 2, 4, 7, 0, 10, 30]


def history(lengths=tuple(LENGTHS)):
    return History.from_lists([list(range(100 * b, 100 * b + n)) for b, n in enumerate(lengths)])


def exact(**options):
    return MaskedItem.Config(**{"session_mask_prob": 0.0, "last_prob": 0.0, "exact_count": True} | options).build()


def per_user(task):
    return [int(hidden.sum()) for hidden in task.hidden_T.split(task.history.lengths.tolist())]


def test_counts_are_exact_with_a_floor_and_a_cap():
    # Shares of 0.4: 0.4 and 0.8 of an event become 1, then 1.6, 2.8, 4 and 12.
    assert per_user(exact(mask_prob=0.4).training_task(history(), torch_generator(1))) == [0, 1, 1, 2, 3, 0, 4, 12]
    capped = exact(mask_prob=0.4, max_predictions=3)
    assert per_user(capped.training_task(history(), torch_generator(1))) == [0, 1, 1, 2, 3, 0, 3, 3]


def test_labels_are_the_items_that_were_there_and_seeds_repeat():
    asked = history()
    first, again, other = (exact(mask_prob=0.4).training_task(asked, torch_generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.target_N, asked.item_idx[first.hidden_T])
    assert torch.equal(first.read_N, first.hidden_T.nonzero().squeeze(1))
    assert torch.equal(first.hidden_T, again.hidden_T)
    assert not torch.equal(first.hidden_T, other.hidden_T)


def test_every_choice_of_places_is_as_likely():
    """Two of four places: six pairs, 6000 users; chi-square with five degrees exceeds 20.5 once in a thousand."""
    task = exact(mask_prob=0.5).training_task(history([4] * 6000), torch_generator(3))
    pairs = (task.hidden_T.view(6000, 4) * torch.tensor([1, 2, 4, 8])).sum(1)
    counts = torch.bincount(pairs, minlength=16).double()[[3, 5, 6, 9, 10, 12]]
    assert counts.sum() == 6000
    assert ((counts - 1000) ** 2 / 1000).sum() < 20.5


def test_a_forced_newest_event_is_hidden_alone():
    task = exact(mask_prob=0.9, force_last_prob=1.0).training_task(history(), torch_generator(1))
    assert task.read_N.tolist() == [end - 1 for end, n in zip(history().user_offsets[1:].tolist(), LENGTHS) if n]
    some = exact(mask_prob=0.5, force_last_prob=0.25).training_task(history([6] * 4000), torch_generator(1))
    counts = torch.tensor(per_user(some))
    assert sorted(set(counts.tolist())) == [1, 3]
    assert (counts == 1).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert some.hidden_T.view(4000, 6)[counts == 1].sum(0).tolist() == [0] * 5 + [int((counts == 1).sum())]


def test_the_defaults_draw_as_ever():
    """What else could be drawn is not: the generator stands where three calls leave it."""
    used, told = torch_generator(4), torch_generator(4)
    MaskedItem.Config().build().training_task(history(), used)
    asked = history()
    for size in (asked.num_events, asked.session_offsets.shape[0] - 1, int((asked.lengths > 0).sum())):
        torch.rand(size, generator=told)
    assert torch.equal(used.get_state(), told.get_state())


def test_a_request_reads_as_many_events_as_a_window_holds():
    task = exact(max_len=5).request_task(history())
    assert task.history.lengths.tolist() == [1, 2, 3, 5, 5, 1, 5, 5]
    assert task.read_N.tolist() == (task.history.user_offsets[1:] - 1).tolist()
    last = task.history.item_idx[-5:].tolist()
    assert last[:4] == [726, 727, 728, 729]
    assert exact().request_task(history()).history.lengths.tolist() == [n + 1 for n in LENGTHS]


def test_newest_events_keep_sessions_and_the_moment_of_the_request():
    asked = History.from_lists(
        [[1, 2, 3, 4], [], [5], [6, 7, 8]],
        sessions=[[0, 0, 0, 1], [], [0], [0, 1, 2]],
        now_ms=[90, 91, 92, 93],
        session_open=[True, False, True, False],
    )
    got = newest_events(asked, 3)
    assert got.item_idx.tolist() == [2, 3, 4, 5, 6, 7, 8]
    assert got.user_offsets.tolist() == [0, 3, 3, 4, 7]
    assert got.session_offsets.tolist() == [0, 2, 3, 4, 5, 6, 7]
    assert got.time_ms.tolist() == [1000, 2000, 3000, 0, 0, 1000, 2000]
    assert (got.now_ms.tolist(), got.session_open.tolist()) == ([90, 91, 92, 93], [True, False, True, False])
    assert newest_events(asked, 1).session_offsets.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"force_last_prob": -0.1}, r"force_last_prob \(-0.1\) must lie in \[0, 1\]"),
        ({"exact_count": True, "max_predictions": 0}, r"max_predictions \(0\) must be at least 1"),
        ({"max_predictions": 3}, r"max_predictions \(3\) must be None where exact_count is False"),
        ({"max_len": 1}, r"max_len \(1\) must be at least 2"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        MaskedItem.Config(**options)
