"""What is hidden, read and expected."""

import pytest
import torch

from hpgr.core.batch import History
from hpgr.core.errors import ConfigError
from hpgr.core.seeds import torch_generator
from hpgr.items.id_embedding import IdEmbedding
from hpgr.objectives.costs import FullSoftmax, SampledBinary
from hpgr.objectives.links import SkipLinks
from hpgr.objectives.masked_item import MaskedItem
from hpgr.objectives.next_item import NextItem


def history():
    return History.from_lists([[4, 5, 6], [], [7], [8, 9]], sessions=[[0, 1, 1], [], [0], [0, 0]])


def test_next_item_tells_and_reads_all_but_the_last():
    task = NextItem.Config().build().training_task(history(), torch_generator(1))
    assert task.history.item_idx.tolist() == [4, 5, 8]
    assert task.history.user_offsets.tolist() == [0, 2, 2, 2, 3]
    assert task.history.session_offsets.tolist() == [0, 1, 2, 3]
    assert task.read_N.tolist() == [0, 1, 2]
    assert task.target_N.tolist() == [5, 6, 9]
    assert task.hidden_T is None


def test_next_item_request_reads_the_newest_event():
    task = NextItem.Config().build().request_task(history())
    assert task.read_N.tolist() == [2, -1, 3, 5]


def test_masking_reads_what_it_hides_and_something_of_everybody():
    objective = MaskedItem.Config(mask_prob=0.01, session_mask_prob=0.0, last_prob=0.0).build()
    task = objective.training_task(history(), torch_generator(1))
    assert task.read_N.tolist() == [2, 3, 5]
    assert task.hidden_T.nonzero().squeeze(1).tolist() == [2, 3, 5]
    assert task.target_N.tolist() == [6, 7, 9]


def test_sessions_are_hidden_whole():
    objective = MaskedItem.Config(mask_prob=1e-9, session_mask_prob=1.0, last_prob=0.0).build()
    assert objective.training_task(history(), torch_generator(1)).hidden_T.all()


def test_mask_request_appends_a_hidden_event_now():
    task = MaskedItem.Config().build().request_task(history())
    assert task.history.num_events == history().num_events + 4
    assert task.read_N.tolist() == [3, 4, 6, 9]
    assert task.hidden_T.nonzero().squeeze(1).tolist() == task.read_N.tolist()


def test_mask_share_is_what_was_asked():
    long = History.from_lists([list(range(2000))], sessions=[[i // 10 for i in range(2000)]])
    task = (
        MaskedItem.Config(mask_prob=0.2, session_mask_prob=0.1, last_prob=0.0)
        .build()
        .training_task(long, torch_generator(3))
    )
    assert task.hidden_T.float().mean().item() == pytest.approx(1 - 0.8 * 0.9, abs=0.03)


@pytest.mark.parametrize("cost", [FullSoftmax(), FullSoftmax(temperature=0.1), SampledBinary()], ids=repr)
def test_targets_outside_the_catalogue_are_not_predicted(cost):
    torch.manual_seed(0)
    items = IdEmbedding.Config(dim=4).build(num_items=8)
    objective = NextItem.Config(cost=cost).build()
    states = torch.randn(2, 4)
    task = NextItem.Config().build().training_task(History.from_lists([[1, 8, 3]]), torch_generator(0))
    assert task.target_N.tolist() == [8, 3]
    got = objective.loss(states, task, items, torch_generator(5))
    want = cost.loss(states[1:], torch.tensor([3]), items, torch_generator(5))
    assert got.item() == pytest.approx(want.item())


def test_logits_agree_with_the_loss():
    torch.manual_seed(0)
    items = IdEmbedding.Config(dim=4).build(num_items=8)
    states, target = torch.randn(5, 4), torch.randint(8, (5,))
    cost = FullSoftmax(temperature=0.1)
    want = torch.nn.functional.cross_entropy(cost.logits(states, items), target)
    assert cost.loss(states, target, items, torch_generator(0)).item() == pytest.approx(want.item())


def test_links_by_hand():
    rule = SkipLinks(reach=2)
    origin, target, weight = rule.links(history())
    assert sorted(zip(origin.tolist(), target.tolist(), weight.tolist())) == [
        (4, 5, 1.0),
        (4, 6, 0.5),
        (5, 6, 1.0),
        (8, 9, 1.0),
    ]
    event, weight = rule.recall(history())
    assert dict(zip(event.tolist(), weight.tolist())) == {1: 0.5, 2: 1.0, 3: 1.0, 4: 0.5, 5: 1.0}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MaskedItem.Config(mask_prob=0.0), r"mask_prob \(0.0\) must lie in \(0, 1\)"),
        (lambda: MaskedItem.Config(last_prob=2.0), r"last_prob \(2.0\) must lie in \[0, 1\]"),
        (lambda: FullSoftmax(temperature=0.0), r"temperature \(0.0\) must be greater than 0"),
        (lambda: FullSoftmax(chunk=0), r"chunk \(0\) must be at least 1"),
        (lambda: SampledBinary(num_negatives=0), r"num_negatives \(0\) must be at least 1"),
        (lambda: SkipLinks(reach=0), r"reach \(0\) must be at least 1"),
        (lambda: IdEmbedding.Config(dim=0), r"dim \(0\) must be at least 1"),
        (lambda: IdEmbedding.Config(unknown_prob=1.0), r"unknown_prob \(1.0\) must lie in \[0, 1\)"),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
