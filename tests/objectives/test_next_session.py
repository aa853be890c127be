"""What is told, read and expected before each session; and what was shown against what was chosen, by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from hpgr.core.batch import Candidates, History
from hpgr.core.errors import ConfigError
from hpgr.core.jagged import Jagged
from hpgr.core.seeds import torch_generator
from hpgr.objectives.before_sessions import before_sessions
from hpgr.objectives.exposed_ranking import ExposedRanking, pair_costs
from hpgr.objectives.next_session import NextSession


def users() -> History:
    """Sessions [1 2] [3 4 3] [5]; none; [6 7]; [8] [9 2]."""
    return History.from_lists(
        [[1, 2, 3, 4, 3, 5], [], [6, 7], [8, 9, 2]],
        sessions=[[0, 0, 1, 1, 1, 2], [], [0, 0], [0, 1, 1]],
        actions=[[1, 2, 1, 2, 1, 2], [], [1, 1], [1, 2, 1]],
        session_open=[True] * 4,
    )


def test_the_last_session_is_not_told_and_each_reads_the_event_before_it():
    told, read_S = before_sessions(users())
    assert told.item_idx.tolist() == [1, 2, 3, 4, 3, 8]
    assert told.user_offsets.tolist() == [0, 5, 5, 5, 6]
    assert told.session_offsets.tolist() == [0, 2, 5, 6]
    assert told.now_ms.tolist() == [5000, 0, 0, 1000]
    assert told.session_open.tolist() == [False, True, False, False]
    assert read_S.tolist() == [-1, 1, 4, -1, -1, 5]


def test_every_item_of_the_next_session_is_expected():
    task = NextSession.Config().build().training_task(users(), torch_generator(1))
    assert task.read_N.tolist() == [1, 1, 1, 4, 5, 5]
    assert task.target_N.tolist() == [3, 4, 3, 5, 9, 2]
    task = NextSession.Config(actions=(2,)).build().training_task(users(), torch_generator(1))
    assert (task.read_N.tolist(), task.target_N.tolist()) == ([1, 4, 5], [4, 5, 9])
    assert NextSession.Config().build().request_task(users()).read_N.tolist() == [5, -1, 7, 10]


def test_no_session_no_task():
    for items in ([[]], [[1]], [[1, 2, 3]]):
        task = NextSession.Config(cut_prob=0.0).build().training_task(History.from_lists(items), torch_generator(1))
        assert (task.history.num_events, task.read_N.tolist()) == (0, [])


def test_a_cut_session_predicts_its_rest():
    """Always cut: what was one session of a user is told up to a place and expected from there on."""
    seen = set()
    for seed in range(40):
        task = NextSession.Config(cut_prob=1.0).build().training_task(users(), torch_generator(seed))
        lengths = task.history.lengths.tolist()
        assert lengths == [5, 0, 1, 2]
        assert task.target_N.tolist() == [3, 4, 3, 5, 7, 9, 2]
        assert task.read_N.tolist() == [1, 1, 1, 4, 5, 6, 7]
        assert task.history.session_open.tolist() == [False, True, True, True]
        assert task.history.now_ms.tolist() == [5000, 0, 1000, 2000]
    long = History.from_lists([list(range(5))])
    for seed in range(60):
        task = NextSession.Config(cut_prob=1.0).build().training_task(long, torch_generator(seed))
        seen.add(task.history.num_events)
        assert task.target_N.tolist() == list(range(task.history.num_events, 5))
    assert seen == {1, 2, 3, 4}
    cut = [
        NextSession.Config(cut_prob=0.3).build().training_task(long, torch_generator(seed)).history.num_events > 0
        for seed in range(400)
    ]
    assert sum(cut) / 400 == pytest.approx(0.3, abs=0.07)


def test_sessions_or_right_answers_count_alike():
    class Known:
        num_items = 9

    class ByItem:
        logits = None

        @staticmethod
        def set_costs(states_SD, set_N, target_N, items, generator):
            assert states_SD[:, 0].tolist() == [1.0, 5.0]
            assert set_N.tolist() == [0, 0, 0, 1]
            return target_N.double()

    states = torch.tensor([1.0, 1, 1, 4, 5, 5])[:, None]
    for weigh, want in (("sessions", (10 / 3 + 2) / 2), ("events", 12 / 4)):
        objective = NextSession.Config(cost=ByItem(), weigh=weigh).build()
        task = objective.training_task(users(), torch_generator(1))
        # The session of item 5, made unknown here, and item 9 are outside the catalogue.
        task = replace(task, target_N=torch.tensor([3, 4, 3, 9, 9, 2]))
        assert objective.loss(states, task, Known(), torch_generator(1)).item() == pytest.approx(want)


class Table:
    """An item's vector is its row, a half, in two columns: the score of item i under the state (a, 0) is a · i / 2."""

    num_items = 10
    log_share_V = torch.zeros(10, dtype=torch.float64)

    def rows(self, item_idx):
        return torch.stack([item_idx / 2, item_idx * 0.0], 1).double(), None


def shown_in(rows: list[list[tuple[int, float]]]) -> Candidates:
    return Candidates.from_lists(
        [[i for i, _ in row] for row in rows],
        now_ms=torch.zeros(len(rows), dtype=torch.int64),
        labels=[[y for _, y in row] for row in rows],
    )


SHOWN = [
    [(9, 0.0)],
    [(3, 0.0), (6, 0.0), (8, 1.0), (2, 0.0)],
    [(10, 0.0)],
    [(1, 0.0)],
    [(1, 0.0)],
    [(4, 0.0), (9, 1.0)],
]


def test_pairs_of_a_session_by_hand():
    """Sessions [3 4 3] with 6 and 2 passed over, [9 2] with 4; 3 was chosen, 8 has the label 1, 10 is no item, [5] has none."""
    told: list = []

    def read(task):
        told.append(task)
        return torch.tensor([[1.0, 0.0], [2.0, 0.0]], dtype=torch.float64)

    part = ExposedRanking.Config(alpha=0.5).build(dim=2)
    got = part(read, (users(), shown_in(SHOWN)), Table(), torch_generator(1))
    assert told[0].read_N.tolist() == [1, 5]
    assert told[0].history.item_idx.tolist() == [1, 2, 3, 4, 3, 8]
    first = [math.log1p(math.exp((n - p) / 2)) for p in (3, 4, 3) for n in (6, 2)]
    second = [math.log1p(math.exp(4 - p)) for p in (9, 2)]
    assert got.item() == pytest.approx(0.5 * (sum(first) / 6 + sum(second) / 2) / 2)
    assert part.monitors["exposed_sessions"].item() == 2
    only = ExposedRanking.Config(alpha=0.5, actions=(2,)).build(dim=2)
    # Of [3 4 3] only 4 was chosen so, and 3 was passed over.
    first = [math.log1p(math.exp((n - 4) / 2)) for n in (3, 6, 2)]
    want = 0.5 * (sum(first) / 3 + math.log1p(math.exp(4 - 9))) / 2
    assert only(read, (users(), shown_in(SHOWN)), Table(), torch_generator(1)).item() == pytest.approx(want)


def test_the_double_sum_and_none_without_negatives(close):
    positive = Jagged.from_lengths(torch.tensor([0.2, -1.0, 3.0, 0.5]), [2, 1, 1])
    negative = Jagged.from_lengths(torch.tensor([1.0, 0.0, -2.0, 4.0]), [3, 0, 1])
    want = [
        sum(math.log1p(math.exp(n - p)) for p in (0.2, -1.0) for n in (1.0, 0.0, -2.0)) / 6,
        0.0,
        math.log1p(math.exp(3.5)),
    ]
    close(pair_costs(positive, negative), torch.tensor(want))


@pytest.mark.parametrize("shown", [None, shown_in([[] for _ in SHOWN]), shown_in([[(3, 1.0)] for _ in SHOWN])])
def test_without_negatives_nothing_is_read_and_nothing_costs(shown):
    def read(task):
        raise AssertionError("nothing is to be read")

    part = ExposedRanking.Config(alpha=0.5).build(dim=2)
    assert part(read, (users(), shown), Table(), torch_generator(1)).item() == 0
    assert (
        ExposedRanking.Config(alpha=0.0).build(dim=2)(read, (users(), shown_in(SHOWN)), Table(), torch_generator(1))
        == 0
    )


def test_bad_options_are_refused():
    with pytest.raises(ConfigError, match=r"^weigh \(items\) must be sessions or events$"):
        NextSession.Config(weigh="items")
    with pytest.raises(ConfigError, match=r"^cut_prob \(1.5\) must lie in \[0, 1\]$"):
        NextSession.Config(cut_prob=1.5)
    with pytest.raises(ConfigError, match=r"^alpha \(-1\) must be finite and not negative$"):
        ExposedRanking.Config(alpha=-1)
