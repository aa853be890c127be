"""Kinds of events: which are predicted, and how a recommender of the catalogue tells them apart."""

from dataclasses import replace

import pytest
import torch

from hpgr.core.batch import History
from hpgr.core.errors import ConfigError
from hpgr.core.seeds import torch_generator
from hpgr.models.sasrec import sasrec
from hpgr.objectives.masked_item import MaskedItem
from hpgr.objectives.next_item import NextItem

# Shown and passed over: 1; chosen: 2.
HISTORY = replace(History.from_lists([[5, 6, 7, 8], [9, 3]]), action=torch.tensor([1, 2, 1, 2, 2, 1]))


def test_only_the_kinds_named_are_expected_to_follow():
    task = NextItem.Config(actions=(2,)).build().training_task(HISTORY, torch_generator(1))
    assert task.target_N.tolist() == [6, 8]
    # Read are the events before them: 5 and 7, all that is told standing as it was.
    assert task.history.item_idx[task.read_N].tolist() == [5, 7]
    assert task.history.item_idx.tolist() == [5, 6, 7, 9]


def test_only_the_kinds_named_are_hidden():
    objective = MaskedItem.Config(mask_prob=0.9, actions=(2,)).build()
    hidden = torch.stack([objective.training_task(HISTORY, torch_generator(seed)).hidden_T for seed in range(20)])
    assert not hidden[:, HISTORY.action == 1].any()
    assert hidden[:, HISTORY.action == 2].any(0).all()


def test_a_hidden_event_does_not_tell_its_kind():
    torch.manual_seed(0)
    model = replace(sasrec(), num_actions=2).build(num_items=20).eval()
    other = replace(HISTORY, action=torch.tensor([1, 1, 1, 2, 2, 1]))
    hidden_T = torch.tensor([False, True, False, False, False, False])
    assert torch.equal(model.states(HISTORY, hidden_T).values, model.states(other, hidden_T).values)
    assert not torch.equal(model.states(HISTORY).values[1], model.states(other).values[1])


@pytest.mark.parametrize("actions", [(), (-1, 2)])
def test_kinds_that_are_none_are_refused(actions):
    with pytest.raises(ConfigError, match="actions"):
        NextItem.Config(actions=actions)
    with pytest.raises(ConfigError, match="actions"):
        MaskedItem.Config(actions=actions)
