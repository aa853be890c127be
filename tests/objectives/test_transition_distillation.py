"""The sparse closed form is the dense cross-entropy; what is counted, and what it moves."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from hpgr.core.batch import History
from hpgr.core.errors import ConfigError
from hpgr.core.seeds import torch_generator
from hpgr.models.mqsa_ted import mqsa_ted
from hpgr.objectives.links import SkipLinks
from hpgr.objectives.losses.sparse_teacher import sparse_teacher_loss
from hpgr.objectives.transition_distillation import TransitionDistillation

NUM_ITEMS = 7
LOG = [[0, 1, 2], [0, 1, 3], [0, 3], [3, 3, 9], [5]]


def built(config=None, **options):
    """A frame of 7 items whose auxiliary has counted ``LOG``: 0 → 1 twice, 0 → 3, 1 → 2, 1 → 3, 3 → 3; 9 is unknown."""
    torch.manual_seed(0)
    config = config or mqsa_ted(dim=8, dropout=0.0, **options)
    frame = config.build(num_items=NUM_ITEMS).double()
    frame.count([History.from_lists([[min(item, NUM_ITEMS) for item in row] for row in LOG])])
    return frame


def teacher(tau: float) -> torch.Tensor:
    """``[V, V]``, dense."""
    counts = torch.zeros(NUM_ITEMS, NUM_ITEMS, dtype=torch.float64)
    counts[0, 1], counts[0, 3], counts[1, 2], counts[1, 3], counts[3, 3] = 2, 1, 1, 1, 1
    return (counts / counts.amax(1, keepdim=True).clamp(min=1) / tau).softmax(1)


def on_rows(auxiliary, rows):
    """The teacher as it is held: dense from the links of each item."""
    row_N, item_N, strength_N = auxiliary._links(torch.tensor(rows))
    dense = torch.zeros(len(rows), NUM_ITEMS, dtype=torch.float64)
    dense[row_N, item_N] = strength_N.double()
    return dense.softmax(1)


@pytest.mark.parametrize("tau", [0.1, 1.0])
def test_the_teacher_is_the_softmax_of_normed_counts(tau, close):
    close(on_rows(built(tau=tau).auxiliary, list(range(NUM_ITEMS))).float(), teacher(tau).float())


def test_cold_teachers_choose_the_most_frequent_and_those_without_links_are_uniform(close):
    told = on_rows(built(tau=1e-3).auxiliary, [0, 1, 4])
    close(told.sum(1), torch.ones(3, dtype=torch.float64))
    assert told[0, 1] > 0.999
    close(told[1, 2:4].float(), torch.tensor([0.5, 0.5]))
    close(told[2].float(), torch.full((NUM_ITEMS,), 1 / NUM_ITEMS))


@pytest.mark.parametrize("tau", [1.0, 0.1, 1e-3])
@pytest.mark.parametrize("chunk", [1, 100])
def test_the_closed_form_is_the_dense_cross_entropy_and_its_gradient(tau, chunk, close):
    frame = built(tau=tau)
    item_U, weight_U = torch.tensor([0, 1, 3, 6]), torch.tensor([3, 1, 1, 2])
    gradients, costs = [], []
    for dense in (False, True):
        table_VD = torch.randn(NUM_ITEMS, 8, generator=torch_generator(1)).requires_grad_()
        if dense:
            log_share = (table_VD[item_U] @ table_VD.T).log_softmax(1)
            cost_U = -(teacher(tau)[item_U].float() * log_share).sum(1)
            cost = (cost_U * weight_U).sum() / weight_U.sum()
        else:
            links = frame.auxiliary._links(item_U)
            cost = sparse_teacher_loss(table_VD[item_U], weight_U, table_VD, links, chunk=chunk)
        costs.append(cost)
        gradients.append(*torch.autograd.grad(cost, table_VD))
    assert costs[0].isfinite()
    close(costs[0], costs[1])
    close(gradients[0], gradients[1])


def test_the_cost_is_a_mean_over_what_a_batch_tells_and_moves_items_only(close):
    """0 is told twice, 1 and 3 once; the last event of a window and items outside the catalogue are not told."""
    frame = built(tau=0.5, distil=0.3)
    cost = frame.auxiliary(
        None, (History.from_lists([[0, 1, 5], [0, 3, 7, 6]]),) * 2, frame.targets, torch_generator(1)
    )
    table = frame.items.table()
    log_share = (8**0.5 * table @ table.T / 0.5).log_softmax(1)
    each = -(teacher(0.5) * log_share).sum(1)
    close(cost, (0.3 * (2 * each[0] + each[1] + each[3]) / 4).float())
    cost.backward()
    assert [name for name, p in frame.named_parameters() if p.grad is not None] == ["items.weight"]


def test_further_events_weigh_less():
    frame = built(replace(mqsa_ted(dim=8), auxiliary=TransitionDistillation.Config(links=SkipLinks(reach=2))))
    told = on_rows(frame.auxiliary, [0])[0]
    assert told[1] > told[3] > told[2] > told[4]


def test_without_counts_or_events_or_weight_it_is_zero():
    frame = mqsa_ted(dim=8).build(num_items=NUM_ITEMS)
    history = History.from_lists(LOG[:3])
    assert frame.auxiliary(None, (history, history), frame.targets, torch_generator(1)) == 0
    frame = built()
    alone = History.from_lists([[5], []])
    assert frame.auxiliary(None, (alone, alone), frame.targets, torch_generator(1)) == 0
    frame = built(distil=0.0)
    assert frame.auxiliary(None, (history, history), frame.targets, torch_generator(1)) == 0


def test_what_was_counted_is_in_no_bundle():
    assert not [name for name in built().state_dict() if "link" in name]


@pytest.mark.parametrize("option", [{"weight": -1.0}, {"temperature": 0.0}, {"dropout": 1.0}, {"chunk": 0}])
def test_bad_options_are_refused(option):
    (name,) = option
    with pytest.raises(ConfigError, match=rf"^{name} \("):
        TransitionDistillation.Config(**option)
